//! The task that drives a client's tunnel.
//!
//! Invariant: each turn ends with one write of everything that the turn produced.

use crate::config::TunnelConfig;
use crate::io::{Io, Transport};
use crate::keepalive::Keepalive;
use bytes::Bytes;
use culvert_identity::SpiffeId;
use culvert_runtime::task;
use h2::client::Connection;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) fn spawn<T: Transport + 'static>(
    mut connection: Connection<Io<T>, Bytes>,
    io: Io<T>,
    peer: SpiffeId,
    config: &TunnelConfig,
) {
    let mut keepalive = Keepalive::new(connection.ping_pong(), config);
    task::spawn_local("hbone_client", async move {
        match poll_fn(|cx| turn(&mut connection, &io, &mut keepalive, cx)).await {
            Ok(()) => tracing::debug!(%peer, "tunnel closed"),
            Err(error) => tracing::debug!(%peer, error, "tunnel failed"),
        }
    });
}

fn turn<T: Transport>(
    connection: &mut Connection<Io<T>, Bytes>,
    io: &Io<T>,
    keepalive: &mut Keepalive,
    cx: &mut Context<'_>,
) -> Poll<Result<(), String>> {
    if keepalive.poll(io.received(), cx).is_ready() {
        return Poll::Ready(Err("nothing arrives and no PING is answered".to_owned()));
    }
    io.start_turn();
    let result = Pin::new(connection).poll(cx);
    match io.poll_send(cx) {
        Poll::Ready(Err(error)) if result.is_pending() => Poll::Ready(Err(error.to_string())),
        _ => result.map_err(|error| error.to_string()),
    }
}
