//! What reaches a pod in plain text, as far as policy lets it: accept -> resolve -> authorize -> fault -> connect ->
//! copy, by the same types as over HBONE, with a peer who is nobody.

use std::net::{SocketAddr, TcpStream as Accepted};
use std::sync::Arc;

use culvert_runtime::net;
use tokio::net::TcpStream;

use super::connections::{Client, Connection};
use super::copy::{self, Caller, Far, Opened, Sides};
use super::denial::Denial;
use super::inbound::authorize::authorize;
use super::inbound::connect::{App, Tunnel, connect};
use super::inbound::describe;
use super::inbound::fault::fault;
use super::inbound::identify::{Peer, unidentified};
use super::inbound::resolve::resolve_captured;
use super::{Context, reset};
use crate::telemetry::{Direction, Facts};

/// Serve one captured connection, on the core that its address falls to.
pub(super) fn serve(cx: Arc<Context>, client: Accepted, peer: SocketAddr) {
    let Ok(dst) = accept(&client, peer) else {
        return reset(client);
    };
    let cores = cx.node.cores.clone();
    cores.hand(&peer, "passthrough", client, move |client| {
        copy::after(open(cx, client, peer, dst))
    });
}

/// Everything before the copy.
async fn open(
    cx: Arc<Context>,
    client: TcpStream,
    peer: SocketAddr,
    dst: SocketAddr,
) -> Option<Opened> {
    let opened = cx
        .pod
        .connections
        .open(Facts::new(Direction::Inbound, peer, dst));
    let Ok(mut connection) = opened else {
        reset(client);
        return None;
    };
    match establish(&cx, &mut connection, unidentified(peer.ip()), dst).await {
        Ok(tunnel) => {
            let (app, stop) = tunnel.into_parts();
            let sides = match app {
                App::Plain(app) => Sides::Plain(client, Far::Tcp(app)),
                App::Faulted(app) => Sides::Faulted(Caller::Tcp(client), app),
            };
            Some(Opened {
                connection,
                stop,
                sides,
                client: Client::Near,
                loaded: None,
            })
        }
        Err(denial) => {
            reset(client);
            connection.refused(&denial);
            None
        }
    }
}

/// What the client wanted to reach, before the pod's rules led it here.
fn accept(client: &Accepted, peer: SocketAddr) -> std::io::Result<SocketAddr> {
    net::original_dst(client, peer)
}

/// resolve -> authorize -> fault -> connect.
pub(super) async fn establish(
    cx: &Context,
    connection: &mut Connection,
    peer: Peer,
    dst: SocketAddr,
) -> Result<Tunnel, Denial> {
    let (snapshot, workload) = cx.own_workload().await?;
    describe::ends(connection, &snapshot, &peer, &cx.pod, &workload);
    let destination = resolve_captured(&cx.pod, &workload, dst)?;
    let mut permit = authorize(connection, &cx.node.store, &cx.pod, peer, destination)?;
    let strike = fault(&cx.node, connection, &mut permit).await?;
    connect(permit, strike, &cx.pod, &cx.node.limits).await
}
