//! The signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Wait for SIGTERM or SIGINT.
pub async fn shutdown() {
    let (mut term, mut int) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    let name = tokio::select! {
        () = received(&mut term) => "SIGTERM",
        () = received(&mut int) => "SIGINT",
    };
    tracing::info!(signal = name, "shutting down");
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::warn!(%error, ?kind, "cannot listen for a signal"))
        .ok()
}

/// A signal that cannot be listened for keeps its default, which ends the process: nothing to wait for.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn sigterm_ends_the_wait() {
        let mut waiting = std::pin::pin!(super::shutdown());
        assert!(waiting.as_mut().now_or_never().is_none());
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        waiting.await;
    }
}
