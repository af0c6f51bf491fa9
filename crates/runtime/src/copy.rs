//! The byte copy between two TCP connections.
//!
//! Invariants: the end of one direction closes only that direction; a reset or error on either side becomes
//! a reset on the other, so that a truncated transfer never looks complete; a connection owns a buffer or a pipe
//! only while one of its peers cannot take the bytes that were read for it.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

mod half;
mod pipe;
mod watched;

use half::Half;
pub use watched::{Copying, Watched};

/// How a copy ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Bytes that were read from the first connection and written to the second.
    pub a_to_b: u64,
    /// Bytes that were read from the second connection and written to the first.
    pub b_to_a: u64,
    /// What ended the copy; `None` when both directions ended in order.
    pub error: Option<io::Error>,
}

/// Bytes that a copy has moved so far, for whoever looks on from another thread. One task writes it.
#[derive(Debug, Default)]
pub struct Progress {
    a_to_b: AtomicU64,
    b_to_a: AtomicU64,
}

impl Progress {
    /// Bytes from the first connection to the second, and back.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (
            self.a_to_b.load(Ordering::Relaxed),
            self.b_to_a.load(Ordering::Relaxed),
        )
    }

    /// Replace both counts.
    pub fn set(&self, a_to_b: u64, b_to_a: u64) {
        self.a_to_b.store(a_to_b, Ordering::Relaxed);
        self.b_to_a.store(b_to_a, Ordering::Relaxed);
    }
}

/// Copy in both directions until both have ended, one failed, or no byte moved for `idle`.
pub async fn bidirectional(a: TcpStream, b: TcpStream, idle: Option<Duration>) -> Outcome {
    watched(a, b, idle, Arc::default(), std::future::pending()).await
}

/// As [`bidirectional`], showing its progress as it goes. When `stop` ends first, the copy fails with the
/// error that it ended with, before it moves another byte.
pub fn watched<S>(
    a: TcpStream,
    b: TcpStream,
    idle: Option<Duration>,
    progress: Arc<Progress>,
    stop: S,
) -> impl Future<Output = Outcome> + use<S>
where
    S: Future<Output = io::Error> + Unpin,
{
    let copy = Copy {
        a,
        b,
        a_to_b: Half::default(),
        b_to_a: Half::default(),
        idle: idle.map(Idle::new),
        progress,
    };
    Watched::new(copy, stop)
}

/// The state of one copy: two sockets, two counters, and whatever is parked.
struct Copy {
    a: TcpStream,
    b: TcpStream,
    a_to_b: Half,
    b_to_a: Half,
    idle: Option<Idle>,
    progress: Arc<Progress>,
}

impl Future for Copy {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let before = this.a_to_b.copied() + this.b_to_a.copied();
        let forth = this.a_to_b.poll(&mut this.a, &mut this.b, cx);
        let back = this.b_to_a.poll(&mut this.b, &mut this.a, cx);
        let (a_to_b, b_to_a) = (this.a_to_b.copied(), this.b_to_a.copied());
        this.progress.set(a_to_b, b_to_a);
        let (forth, back) = (forth?, back?);
        if forth.is_ready() && back.is_ready() {
            let refusal = this
                .a_to_b
                .take_refusal()
                .or_else(|| this.b_to_a.take_refusal());
            return Poll::Ready(refusal.map_or(Ok(()), Err));
        }
        let moved = a_to_b + b_to_a != before;
        match &mut this.idle {
            Some(idle) => idle.poll(moved, cx).map(Err),
            None => Poll::Pending,
        }
    }
}

impl Copying for Copy {
    fn copied(&self) -> (u64, u64) {
        (self.a_to_b.copied(), self.b_to_a.copied())
    }

    fn over(&mut self, in_order: bool) {
        if !in_order {
            reset(&self.a);
            reset(&self.b);
        }
    }
}

/// The idle deadline, moved lazily: a busy connection reads the clock, but touches its timer only when it fires.
struct Idle {
    limit: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            last: Instant::now(),
            timer: Box::pin(sleep(limit)),
        }
    }

    fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> Poll<io::Error> {
        if moved {
            self.last = Instant::now();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let deadline = self.last + self.limit;
            if deadline <= Instant::now() {
                let text = format!("idle for {:?}", self.limit);
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            self.timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Make the close of `stream` a reset. It may be closed already, then there is nobody to tell.
fn reset(stream: &TcpStream) {
    if let Err(error) = crate::net::set_reset_on_close(stream) {
        tracing::debug!(%error, "cannot reset a connection");
    }
}

/// Tell the peer that no more bytes come. A peer that has gone is found by the other direction.
fn shutdown_write(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
