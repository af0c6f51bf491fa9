//! One direction of a connection under a fault.
//!
//! Invariant: what was read is written whole and in order before anything more is read, so that a peer who sends faster
//! than the throttle is held back.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use culvert_runtime::scratch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::bucket::Bucket;

/// Read at once.
const CHUNK: usize = 16 * 1024;
/// Writes in a row before other connections of the core get their turn.
const TURN: usize = 8;

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Flow {
    copied: u64,
    bucket: Option<Bucket>,
    /// Until the bucket has something again.
    timer: Option<Pin<Box<Sleep>>>,
    parked: Vec<u8>,
    written: usize,
    /// The source has.
    ended: bool,
    /// And the destination knows.
    closed: bool,
    refused: Option<io::Error>,
}

impl Flow {
    /// Nothing yet, at most so many bytes a second.
    pub(super) fn new(throttle: Option<u64>) -> Self {
        Self {
            copied: 0,
            bucket: throttle.map(|rate| Bucket::new(rate, Instant::now())),
            timer: None,
            parked: Vec::new(),
            written: 0,
            ended: false,
            closed: false,
            refused: None,
        }
    }

    /// Another rate, or none.
    pub(super) fn throttle(&mut self, throttle: Option<u64>) {
        if throttle.is_none() {
            (self.bucket, self.timer) = (None, None);
        }
    }

    /// Bytes that were written so far.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Why the destination took no more, if it did not.
    pub(super) fn take_refusal(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    /// Move what may be moved, of `room` bytes at most. Ready when the source has ended and the destination was told, or
    /// when the destination refuses: what it sent before that is still worth delivering. A failing source is an error.
    pub(super) fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        from: &mut R,
        to: &mut W,
        room: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURN {
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if *room == 0 {
                return Poll::Pending;
            }
            if self.written == self.parked.len() && !self.ended {
                ready!(self.poll_read(from, cx))?;
            }
            if self.written == self.parked.len() && self.ended {
                if let Err(error) = ready!(Pin::new(&mut *to).poll_shutdown(cx)) {
                    self.refused = Some(error);
                }
                self.closed = true;
                continue;
            }
            if let Err(error) = ready!(self.poll_write(to, room, cx)) {
                (self.refused, self.closed) = (Some(error), true);
                (self.parked, self.written) = (Vec::new(), 0);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::with(|buffer| {
            let room = buffer.len().min(CHUNK);
            let mut buffer = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            (self.parked, self.written) = (buffer.filled().to_vec(), 0);
            self.ended = self.parked.is_empty();
            Poll::Ready(Ok(()))
        })
    }

    fn poll_write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        room: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.parked.get(self.written..).unwrap_or_default();
        let wanted = (rest.len() as u64).min(*room);
        let allowed = ready!(allowed(&mut self.bucket, &mut self.timer, wanted, cx));
        let part = usize::try_from(allowed).unwrap_or(rest.len());
        let part = rest.get(..part).unwrap_or(rest);
        let written = Pin::new(to).poll_write(cx, part);
        let through = match &written {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => *n,
            _ => 0,
        };
        if let Some(bucket) = &mut self.bucket {
            bucket.give_back(allowed.saturating_sub(through as u64));
        }
        self.written += through;
        self.copied += through as u64;
        *room = room.saturating_sub(through as u64);
        if self.written == self.parked.len() {
            // Nothing is owned while nothing waits.
            (self.parked, self.written) = (Vec::new(), 0);
        }
        written.map_ok(|_| ())
    }
}

/// What may go through now of so many bytes; pending while that is none.
fn allowed(
    bucket: &mut Option<Bucket>,
    timer: &mut Option<Pin<Box<Sleep>>>,
    wanted: u64,
    cx: &mut Context<'_>,
) -> Poll<u64> {
    let Some(bucket) = bucket else {
        return Poll::Ready(wanted);
    };
    loop {
        if let Some(running) = timer {
            ready!(running.as_mut().poll(cx));
            *timer = None;
        }
        let allowed = bucket.take(wanted, Instant::now());
        if allowed > 0 {
            return Poll::Ready(allowed);
        }
        let at = bucket.ready_at(wanted);
        *timer = Some(Box::pin(tokio::time::sleep_until(at.into())));
    }
}
