//! A copy that somebody may end.
//!
//! Invariant: once it was told to end, it moves no further byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Outcome;

/// What moves bytes in both directions until both have ended.
pub trait Copying: Future<Output = io::Result<()>> + Unpin {
    /// Bytes that went from the first side to the second, and back.
    fn copied(&self) -> (u64, u64);

    /// It is over: in order, or not.
    fn over(&mut self, in_order: bool);
}

/// A copy, and what ends it with an error when that comes first.
// No async function: that would hold the room for both a second time, for every connection.
#[derive(Debug)]
pub struct Watched<C, S> {
    copy: C,
    stop: S,
}

impl<C: Copying, S: Future<Output = io::Error> + Unpin> Watched<C, S> {
    /// `copy`, until `stop`.
    pub fn new(copy: C, stop: S) -> Self {
        Self { copy, stop }
    }
}

impl<C: Copying, S: Future<Output = io::Error> + Unpin> Future for Watched<C, S> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let error = match Pin::new(&mut this.stop).poll(cx) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => ready!(Pin::new(&mut this.copy).poll(cx)).err(),
        };
        this.copy.over(error.is_none());
        let (a_to_b, b_to_a) = this.copy.copied();
        Poll::Ready(Outcome {
            a_to_b,
            b_to_a,
            error,
        })
    }
}
