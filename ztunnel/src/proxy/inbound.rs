//! What reaches a pod over HBONE: identify -> resolve -> authorize -> fault -> connect -> copy, over the types
//! `Accepted -> Peer -> Destination -> Permit -> Tunnel`, each of which only the step before it can make.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_hbone::{Incoming, ResponseHeaders, server};
use culvert_identity::SpiffeId;
use culvert_policy::DenyReason;
use culvert_runtime::{net, task};
use tokio::net::TcpStream;

pub(super) mod authorize;
pub(super) mod connect;
pub(super) mod describe;
pub(super) mod fault;
pub(super) mod identify;
pub(super) mod resolve;

use authorize::authorize;
use connect::{App, Tunnel, connect};
use fault::fault;
use identify::identify;
use resolve::resolve;

use super::connections::{Client, Connection};
use super::copy::{self, Caller, Far, Opened, Sides};
use super::denial::Denial;
use super::outbound::baggage;
use super::{Context, reset};
use crate::telemetry::{Direction, Facts, Record};

/// A CONNECT that came over a mutually authenticated tunnel.
#[derive(Debug)]
pub(crate) struct Accepted(Incoming);

impl Accepted {
    /// Who the tunnel's other end proved to be.
    fn peer(&self) -> &SpiffeId {
        &self.0.peer
    }

    /// Where the tunnel comes from.
    fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr
    }
}

/// Serve one tunnel, on the core that its address falls to: handshake, then every stream that the peer opens.
pub(super) fn serve(cx: Arc<Context>, tcp: std::net::TcpStream, peer: SocketAddr) {
    let cores = cx.node.cores.clone();
    cores.hand(&peer, "inbound", tcp, move |tcp| tunnel(cx, tcp, peer));
}

async fn tunnel(cx: Arc<Context>, tcp: TcpStream, peer: SocketAddr) {
    let local = tcp.local_addr().map_or(peer, net::canonical);
    let log =
        |denial: &Denial| Record::new(Facts::new(Direction::Inbound, peer, local)).refused(denial);
    let mut handshake = cx.pod.handshakes.start();
    let identity = match &handshake {
        Some(_) => {
            cx.pod
                .certificate
                .ready(cx.node.limits.certificate_wait)
                .await
        }
        None => Err(DenyReason::Overload),
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(reason) => {
            reset(tcp);
            return log(&reason.into());
        }
    };
    let on = |incoming| {
        handshake = None;
        task::spawn_local(
            "inbound_stream",
            copy::after(open(cx.clone(), Accepted(incoming), local)),
        );
    };
    if let Err(error) = server::serve(tcp, &identity.server, &cx.node.tunnel, &cx.drain, on).await {
        // Once there were streams, each of them has told its own end.
        if handshake.is_some() {
            log(&Denial::because(error.deny_reason(), error));
        } else {
            tracing::debug!(%peer, %error, "a tunnel broke");
        }
    }
}

/// Everything before the copy, of one stream of a tunnel to `local`. What is refused is answered, counted and logged.
async fn open(cx: Arc<Context>, accepted: Accepted, local: SocketAddr) -> Option<Opened> {
    let facts = Facts {
        hbone_addr: Some(local),
        ..Facts::new(Direction::Inbound, accepted.peer_addr(), local)
    };
    let mut connection = match cx.pod.connections.open(facts) {
        Ok(connection) => connection,
        Err(denial) => {
            refuse(accepted, &denial);
            return None;
        }
    };
    let tunnel = match establish(&cx, &mut connection, &accepted).await {
        Ok(tunnel) => tunnel,
        Err(denial) => {
            refuse(accepted, &denial);
            connection.refused(&denial);
            return None;
        }
    };
    let headers = ResponseHeaders {
        baggage: Some(baggage(tunnel.workload())),
    };
    let (app, stop) = tunnel.into_parts();
    match accepted.0.accept(&headers) {
        Ok(far) => {
            let (sides, client) = match app {
                App::Plain(app) => (Sides::Plain(app, Far::Tunnel(far)), Client::Far),
                App::Faulted(app) => (Sides::Faulted(Caller::Tunnel(far), app), Client::Near),
            };
            Some(Opened {
                connection,
                stop,
                sides,
                client,
                loaded: None,
            })
        }
        Err(error) => {
            app.reset();
            connection.refused(&Denial::because(DenyReason::H2Failure, error));
            None
        }
    }
}

/// identify -> resolve -> authorize -> fault -> connect.
async fn establish(
    cx: &Context,
    connection: &mut Connection,
    accepted: &Accepted,
) -> Result<Tunnel, Denial> {
    let (snapshot, workload) = cx.own_workload().await?;
    let peer = identify(accepted)?;
    describe::ends(connection, &snapshot, &peer, &cx.pod, &workload);
    let destination = resolve(&cx.pod, &workload, &snapshot, &accepted.0.authority)?;
    describe::destination(connection, &snapshot, accepted, &destination);
    let mut permit = authorize(connection, &cx.node.store, &cx.pod, peer, destination)?;
    let strike = fault(&cx.node, connection, &mut permit).await?;
    connect(permit, strike, &cx.pod, &cx.node.limits).await
}

fn refuse(accepted: Accepted, denial: &Denial) {
    accepted.0.refuse(
        denial.reason.http_status(),
        denial.reason,
        denial.policy.as_deref(),
    );
}
