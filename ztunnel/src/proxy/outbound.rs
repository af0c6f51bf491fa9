//! What an application of a pod dials: accept -> identify -> route -> (leave) -> connect -> copy.

use std::net::{SocketAddr, TcpStream as Accepted};
use std::os::fd::AsFd;
use std::sync::Arc;

use culvert_policy::DenyReason;
use culvert_runtime::{net, task};
use culvert_xds::state::Workload;
use tokio::net::TcpStream;

mod connect;
mod endpoints;
mod headers;
mod leave;
mod named;
mod route;
mod within;

use connect::{Upstream, connect};
pub(super) use headers::baggage;
use route::{Route, View, route};

use super::connections::{Client, Connection};
use super::copy::{self, Opened, Sides};
use super::denial::Denial;
use super::{Context, reset};
use crate::telemetry::{Direction, Facts, Party};

/// Serve one captured connection.
pub(super) fn serve(cx: Arc<Context>, app: Accepted, client: SocketAddr) {
    task::spawn_local("outbound", dispatch(cx, app, client));
}

/// On the pod's core: accept -> identify -> route.
async fn dispatch(cx: Arc<Context>, app: Accepted, client: SocketAddr) {
    let Ok(dst) = accept(&app, client) else {
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
                copy::after(open(cx, connection, source, route, app))
            });
        }
        Err(reason) => refuse(app, connection, &reason.into()),
    }
}

/// On the route's core: connect, before the copy.
async fn open(
    cx: Arc<Context>,
    mut connection: Connection,
    source: Arc<Workload>,
    route: Route,
    mut app: TcpStream,
) -> Option<Opened> {
    let mut stop = connection.take_stop();
    let connected = tokio::select! {
        biased;
        denial = stop.stopped() => Err(denial),
        connected = connect(&cx, &connection, &source, route, &mut app) => connected,
    };
    match connected {
        Ok(Upstream { far, loaded }) => Some(Opened {
            connection,
            stop,
            sides: Sides::Plain(app, far),
            client: Client::Near,
            loaded,
        }),
        Err(denial) => {
            refuse(app, connection, &denial);
            None
        }
    }
}

/// Where the application wanted to go, before the pod's rules led it here.
fn accept(app: &Accepted, client: SocketAddr) -> std::io::Result<SocketAddr> {
    net::original_dst(app, client)
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
                // What is named and not known yet may be on its way.
                Route::Passthrough(_) if snapshot.egress_for(source).is_err() => {
                    Err(DenyReason::PolicyMissing)
                }
                route => Ok((
                    source.clone(),
                    within::shorten(&view, &cx.node.neighbours, route),
                )),
            }
        })
        .await?;
    connection.facts().source = Party::of(&source).with_identity(cx.pod.certificate.id());
    Ok((source, route))
}

fn refuse(app: impl AsFd, connection: Connection, denial: &Denial) {
    reset(app);
    connection.refused(denial);
}
