//! What reaches a pod in plain text, as far as policy lets it: accept -> resolve -> authorize -> connect -> copy, by
//! the same types as over HBONE, with a peer who is nobody.

use std::net::{SocketAddr, TcpStream as Accepted};
use std::sync::Arc;

use culvert_runtime::net;
use tokio::net::TcpStream;

use super::connections::{Client, Connection};
use super::copy::{self, Far, Opened};
use super::denial::Denial;
use super::inbound::authorize::authorize;
use super::inbound::connect::{Tunnel, connect};
use super::inbound::describe;
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
            Some(Opened {
                connection,
                stop,
                near: client,
                far: Far::Tcp(app),
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

/// resolve -> authorize -> connect.
pub(super) async fn establish(
    cx: &Context,
    connection: &mut Connection,
    peer: Peer,
    dst: SocketAddr,
) -> Result<Tunnel, Denial> {
    let (snapshot, workload) = cx.own_workload().await?;
    describe::ends(connection, &snapshot, &peer, &cx.pod, &workload);
    let destination = resolve_captured(&cx.pod, &workload, dst)?;
    let permit = authorize(connection, &cx.node.store, &cx.pod, peer, destination)?;
    connect(permit, &cx.pod, &cx.node.limits).await
}
