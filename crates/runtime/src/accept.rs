//! The accept loop of every listener.
//!
//! Invariant: no error ends the loop or spins it. What concerns one connection is ignored; what concerns
//! the process (descriptors, memory) makes it wait, is counted, and is logged seldom.
//!
//! Connections come as they are, not yet known to any runtime: whoever serves one registers it on the thread that it is
//! served on, once.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mio::net::TcpListener as Listener;
use prometheus::IntCounterVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;

use crate::drain::Drain;

mod successor;
mod sys;

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    crate::metrics::int_counter_vec(
        "culvert_accept_errors_total",
        "Errors of accept, by what they concern: connection, resources or listener.",
        &["class"],
    )
});

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The one connection that was about to be accepted; the next may be fine at once.
    Connection,
    /// The process or machine is out of descriptors or memory.
    Resources,
    /// The listener itself: not expected to happen.
    Listener,
}

impl ErrorClass {
    /// Class of an error that accept(2) returned.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::Resources,
            // accept(2): errors already pending on the new socket are passed on as errors of accept.
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EAGAIN
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ETIMEDOUT,
            ) => Self::Connection,
            _ => Self::Listener,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Resources => "resources",
            Self::Listener => "listener",
        }
    }
}

/// Accept until the drain starts, and then, for a moment, whose handshake had begun and what already waits in the queue.
/// A successor that listens at the same address is left everybody else; then the listener is closed.
pub async fn run(listener: TcpListener, drain: Drain, mut on: impl FnMut(TcpStream, SocketAddr)) {
    let listener = match listener.into_std().and_then(sys::register) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener cannot be served"),
    };
    until(drain.signaled(), &listener, &mut on).await;
    if let Err(error) = successor::prefer(&listener) {
        tracing::debug!(%error, "a successor is not preferred");
    }
    until(
        tokio::time::sleep(successor::HANDSHAKES),
        &listener,
        &mut on,
    )
    .await;
    take_waiting(&listener, on);
}

/// Accept until `end`.
async fn until(
    end: impl Future<Output = ()>,
    listener: &AsyncFd<Listener>,
    on: &mut impl FnMut(TcpStream, SocketAddr),
) {
    let mut backoff = Backoff::default();
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => return,
            accepted = listener.async_io(Interest::READABLE, Listener::accept) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = Backoff::default();
                on(stream.into(), crate::net::canonical(peer));
            }
            Err(error) => {
                if let Some(pause) = backoff.after(&error) {
                    tokio::select! {
                        biased;
                        () = &mut end => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }
}

/// A connection in the queue has been promised to its client: it is served, not reset.
fn take_waiting(listener: &AsyncFd<Listener>, mut on: impl FnMut(TcpStream, SocketAddr)) {
    loop {
        match listener.get_ref().accept() {
            Ok((stream, peer)) => on(stream.into(), crate::net::canonical(peer)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_empty) => return,
        }
    }
}

/// How long to wait after the next error, and when it was last logged.
#[derive(Debug)]
struct Backoff {
    pause: Duration,
    logged: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            pause: FIRST_PAUSE,
            logged: None,
        }
    }
}

impl Backoff {
    /// Count the error, and say how long to wait before the next accept; `None` is not at all.
    fn after(&mut self, error: &io::Error) -> Option<Duration> {
        let class = ErrorClass::of(error);
        ERRORS.with_label_values(&[class.as_str()]).inc();
        if class == ErrorClass::Connection {
            return None;
        }
        if self
            .logged
            .is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL)
        {
            self.logged = Some(Instant::now());
            tracing::warn!(%error, class = class.as_str(), "cannot accept connections, waiting");
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(test)]
mod tests;
