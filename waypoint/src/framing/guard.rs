//! A stream that lets only well-framed HTTP/1 requests through to the HTTP library.
//!
//! Invariants: after a violation nothing more is read. What a client sends after asking for another protocol is held
//! back, and dropped if the change is refused: it never becomes a request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::{Accepted, Framing, Refused};

/// What the HTTP library gets in place of a malformed head, so that it answers 400 in its own place among pipelined
/// responses: no request line or header may hold a NUL.
const POISON: &[u8] = b"\0\r\n\r\n";

/// The side of a [`Guard`] that requests see.
#[derive(Debug, Default)]
pub struct Switch {
    asked: Cell<bool>,
    refused: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    /// If the last request asked for another protocol: it does not get it, and the connection takes no further
    /// request. Says whether that was so.
    pub fn refuse(&self) -> bool {
        if !self.asked.get() {
            return false;
        }
        self.refused.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
        true
    }
}

/// A stream of HTTP/1 requests behind the strict reading of their frames.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    framing: Framing,
    switch: Rc<Switch>,
    gate: Gate,
    head_deadline: Duration,
    head_timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Gate {
    /// Bytes are read and checked.
    Open,
    /// A change of protocol is asked for; these bytes came after the request.
    Switching(Vec<u8>),
    /// The rest of [`POISON`], then the end.
    Closed(&'static [u8]),
}

impl<S> Guard<S> {
    /// Guards `stream`; a head that has begun must end within `head_deadline`.
    pub fn new(stream: S, head_deadline: Duration) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            switch: Rc::default(),
            gate: Gate::Open,
            head_deadline,
            head_timer: None,
        }
    }

    /// The side that requests see.
    pub fn switch(&self) -> Rc<Switch> {
        Rc::clone(&self.switch)
    }

    /// The stream, and what the client sent after it asked for another protocol.
    pub fn into_switched(self) -> (S, Vec<u8>) {
        match self.gate {
            Gate::Switching(held) => (self.stream, held),
            Gate::Open | Gate::Closed(_) => (self.stream, Vec::new()),
        }
    }

    /// Decides what of the bytes after `start` in `buf` is let through.
    fn check(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let new = buf.filled().get(start..).unwrap_or_default();
        match self.framing.feed(new) {
            Ok(Accepted { switch: false, .. }) => {}
            Ok(Accepted {
                bytes,
                switch: true,
            }) => {
                self.switch.asked.set(true);
                self.gate = Gate::Switching(new.get(bytes..).unwrap_or_default().to_vec());
                buf.set_filled(start + bytes);
            }
            Err(Refused {
                bytes,
                violation,
                in_head,
            }) => {
                tracing::debug!(%violation, "malformed HTTP/1 request");
                // A body that ends too early is an error of the body by itself.
                self.gate = Gate::Closed(if in_head { POISON } else { &[] });
                buf.set_filled(start + bytes);
            }
        }
    }

    /// Whether a head has taken too long.
    fn head_is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.framing.in_head() {
            self.head_timer = None;
            return false;
        }
        let deadline = self.head_deadline;
        let timer = self
            .head_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.gate {
            Gate::Open => {}
            Gate::Switching(_) if this.switch.refused.get() => return Poll::Ready(Ok(())),
            Gate::Switching(_) => {
                *this.switch.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Gate::Closed(poison) => {
                let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
                buf.put_slice(now);
                *poison = later;
                return Poll::Ready(Ok(()));
            }
        }
        let start = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(read) => read?,
            Poll::Pending if this.head_is_late(cx) => {
                this.gate = Gate::Closed(&[]);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Pending => return Poll::Pending,
        }
        if buf.filled().len() == start {
            return Poll::Ready(Ok(()));
        }
        this.check(buf, start);
        if !this.framing.in_head() {
            this.head_timer = None;
        }
        if buf.filled().len() > start {
            return Poll::Ready(Ok(()));
        }
        // Nothing was let through: say why instead of reporting an end.
        Pin::new(this).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
