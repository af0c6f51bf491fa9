//! What an application of a pod dials: accept -> identify -> route -> connect -> copy.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_policy::DenyReason;
use culvert_runtime::{net, task};
use culvert_xds::state::Workload;
use tokio::net::TcpStream;

mod connect;
mod endpoints;
mod headers;
mod route;

use connect::{Upstream, connect};
pub(super) use headers::baggage;
use route::{Route, View, route};

use super::connections::{Client, Connection};
use super::denial::Denial;
use super::{Context, copy, reset};
use crate::telemetry::{Direction, Facts, Party};

/// Serve one captured connection.
pub(super) fn serve(cx: Arc<Context>, app: TcpStream, client: SocketAddr) {
    task::spawn_local("outbound", dispatch(cx, app, client));
}

/// On the pod's core: accept -> identify -> route.
async fn dispatch(cx: Arc<Context>, app: TcpStream, client: SocketAddr) {
    let Ok(dst) = accept(&app) else {
        return reset(app);
    };
    let Ok(connection) = cx
        .pod
        .connections
        .open(Facts::new(Direction::Outbound, client, dst))
    else {
        return reset(app);
    };
    match identify_and_route(&cx, &connection, dst).await {
        Ok((source, route)) => {
            let (key, cores) = (route.key(cx.pod.uid(), client), cx.node.cores.clone());
            cores.hand(&key, "outbound", app, |app| {
                carry(cx, connection, source, route, app)
            });
        }
        Err(reason) => refuse(app, connection, &reason.into()),
    }
}

/// On the route's core: connect -> copy.
async fn carry(
    cx: Arc<Context>,
    mut connection: Connection,
    source: Arc<Workload>,
    route: Route,
    app: TcpStream,
) {
    let mut stop = connection.take_stop();
    // Boxed, so that an established connection does not carry the room for connecting along.
    let connecting = Box::pin(async {
        tokio::select! {
            biased;
            denial = stop.stopped() => Err(denial),
            connected = connect(&cx, &connection, &source, route) => connected,
        }
    });
    match connecting.await {
        Ok(Upstream { far, loaded }) => {
            let idle = cx.node.limits.stream_idle;
            copy::copy(connection, stop, app, far, Client::Near, idle).await;
            drop(loaded);
        }
        Err(denial) => refuse(app, connection, &denial),
    }
}

/// Where the application wanted to go, before the pod's rules led it here.
fn accept(app: &TcpStream) -> std::io::Result<SocketAddr> {
    net::original_dst(app)
}

/// What this pod is, and where its connection goes. An address that nobody knows may be known in a moment.
async fn identify_and_route(
    cx: &Context,
    connection: &Connection,
    dst: SocketAddr,
) -> Result<(Arc<Workload>, Route), DenyReason> {
    let (source, route) = cx
        .settled(|snapshot, source| {
            let view = View {
                snapshot,
                source,
                load: &cx.node.load,
            };
            match route(&view, dst) {
                // Whatever else is known.
                route @ Route::Refuse(DenyReason::SelfCall) => Ok((source.clone(), route)),
                _ if !cx.node.asking.knows_address(source.network(), dst.ip()) => {
                    Err(DenyReason::DestinationUnknown)
                }
                Route::Refuse(DenyReason::DestinationUnknown) => {
                    Err(DenyReason::DestinationUnknown)
                }
                route => Ok((source.clone(), route)),
            }
        })
        .await?;
    connection.facts().source = Party::of(&source).with_identity(cx.pod.certificate.id());
    Ok((source, route))
}

fn refuse(app: TcpStream, connection: Connection, denial: &Denial) {
    reset(app);
    connection.refused(denial);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_stays_small() {
        let bytes = size(carry);
        assert!(bytes <= 1600, "{bytes} bytes for each outbound connection");
    }
}
