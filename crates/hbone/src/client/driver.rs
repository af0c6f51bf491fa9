//! The task that drives a client's tunnel.
//!
//! Invariant: each turn ends with one write of everything that the turn produced.

use crate::config::TunnelConfig;
use crate::io::{Io, Transport};
use crate::keepalive::{Event, Keepalive};
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
    let config = config.clone();
    task::spawn_local("hbone_client", async move {
        match poll_fn(|cx| turn(&mut connection, &io, &mut keepalive, &config, cx)).await {
            Ok(()) => tracing::debug!(%peer, "tunnel closed"),
            Err(error) => tracing::debug!(%peer, error, "tunnel failed"),
        }
    });
}

fn turn<T: Transport>(
    connection: &mut Connection<Io<T>, Bytes>,
    io: &Io<T>,
    keepalive: &mut Keepalive,
    config: &TunnelConfig,
    cx: &mut Context<'_>,
) -> Poll<Result<(), String>> {
    io.start_turn();
    let result = Pin::new(&mut *connection).poll(cx);
    // After reading: a peer isn't gone when what it sent was only not read yet.
    while let Poll::Ready(event) = keepalive.poll(io.received(), cx) {
        match event {
            Event::Gone => return Poll::Ready(Err("no PING is answered".to_owned())),
            Event::RoundTrip(way) => {
                if let Some(window) = config.far_window(way) {
                    // Fails only where the first SETTINGS are not acknowledged, which the PING came after.
                    let _ = connection.set_initial_window_size(window);
                    // To be polled again, which sends it.
                    cx.waker().wake_by_ref();
                }
            }
        }
    }
    match io.poll_send(cx) {
        Poll::Ready(Err(error)) if result.is_pending() => Poll::Ready(Err(error.to_string())),
        _ => result.map_err(|error| error.to_string()),
    }
}
