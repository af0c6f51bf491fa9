//! The task that drives a client's tunnel.
//!
//! Invariant: it ends, and the tunnel with it, when nobody can open streams any more and the last one has ended.

use crate::config::TunnelConfig;
use crate::driver::{Driver, End};
use crate::engine::{Connection, Head};
use crate::io::Transport;
use crate::shared::Shared;
use culvert_identity::SpiffeId;
use culvert_runtime::task;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Drives a connection. The caller holds the first handle by which streams can be opened.
pub(super) fn spawn<T: Transport + 'static>(
    io: T,
    connection: Connection,
    peer: SpiffeId,
    config: &TunnelConfig,
) -> Shared {
    let mut driver = Driver::new(io, connection, config);
    let shared = driver.shared().clone();
    shared.add_opener();
    task::spawn_local("hbone_client", async move {
        match poll_fn(|cx| turn(&mut driver, cx)).await {
            Ok(()) => tracing::debug!(%peer, "tunnel closed"),
            Err(error) => tracing::debug!(%peer, %error, "tunnel failed"),
        }
    });
    shared
}

fn turn<T: Transport>(driver: &mut Driver<T>, cx: &mut Context<'_>) -> Poll<End> {
    let shared = driver.shared();
    if shared.is_abandoned() {
        shared.drive(|connection| {
            if connection.open_streams() == 0 {
                connection.finish();
            }
        });
    }
    // A server opens no streams.
    let result = driver.poll(cx, &mut |_, _: Head| {});
    if result.is_pending() && driver.shared().is_abandoned() {
        let left = driver
            .shared()
            .drive(|c| c.open_streams() == 0 && !c.is_over());
        if left {
            cx.waker().wake_by_ref();
        }
    }
    result
}
