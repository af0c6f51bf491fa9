//! What reaches a pod in plain text, as far as policy lets it: accept -> resolve -> authorize -> connect -> copy, by
//! the same types as over HBONE, with a peer who is nobody.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_runtime::net;
use tokio::net::TcpStream;

use super::connections::{Client, Connection};
use super::copy::Far;
use super::denial::Denial;
use super::inbound::authorize::authorize;
use super::inbound::connect::{Tunnel, connect};
use super::inbound::describe;
use super::inbound::identify::unidentified;
use super::inbound::resolve::resolve_captured;
use super::{Context, copy, reset};
use crate::telemetry::{Direction, Facts};

/// Serve one captured connection, on the core that its address falls to.
pub(super) fn serve(cx: Arc<Context>, client: TcpStream, peer: SocketAddr) {
    let Ok(dst) = accept(&client) else {
        return reset(client);
    };
    let cores = cx.node.cores.clone();
    cores.hand(&peer, "passthrough", client, move |client| {
        carry(cx, client, peer, dst)
    });
}

async fn carry(cx: Arc<Context>, client: TcpStream, peer: SocketAddr, dst: SocketAddr) {
    let Ok(mut connection) = cx
        .pod
        .connections
        .open(Facts::new(Direction::Inbound, peer, dst))
    else {
        return reset(client);
    };
    match establish(&cx, &mut connection, peer, dst).await {
        Ok(tunnel) => {
            let (app, stop) = tunnel.into_parts();
            let idle = cx.node.limits.stream_idle;
            copy::copy(connection, stop, client, Far::Tcp(app), Client::Near, idle).await;
        }
        Err(denial) => {
            reset(client);
            connection.refused(&denial);
        }
    }
}

/// What the client wanted to reach, before the pod's rules led it here.
fn accept(client: &TcpStream) -> std::io::Result<SocketAddr> {
    net::original_dst(client)
}

/// resolve -> authorize -> connect.
async fn establish(
    cx: &Context,
    connection: &mut Connection,
    peer: SocketAddr,
    dst: SocketAddr,
) -> Result<Tunnel, Denial> {
    let (snapshot, workload) = cx.own_workload().await?;
    let peer = unidentified(peer.ip());
    describe::ends(connection, &snapshot, &peer, &cx.pod, &workload);
    let destination = resolve_captured(&cx.pod, &workload, dst)?;
    let permit = authorize(connection, &cx.node.store, &cx.pod, peer, destination)?;
    connect(permit, &cx.pod, &cx.node.limits).await
}
