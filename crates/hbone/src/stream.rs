//! One stream of a tunnel: the bytes of one TCP connection.
//!
//! Invariants: the peer may send as much as was passed on, no more; the end of one direction closes only that one; a
//! stream that is dropped before both directions have ended is reset.

use crate::error::io_error;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one write queues.
const MAX_WRITE: usize = 64 * 1024;

/// A stream of a tunnel.
#[derive(Debug)]
pub struct TunnelStream {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) recv: RecvStream,
    /// What arrived and was not read yet.
    rest: Bytes,
    _active: Option<Active>,
}

/// Counts a stream of a tunnel for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active(Arc<AtomicUsize>);

impl Active {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TunnelStream {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream, active: Option<Active>) -> Self {
        Self {
            send,
            recv,
            rest: Bytes::new(),
            _active: active,
        }
    }

    /// Ends both directions at once, as a TCP reset does.
    pub fn reset(&mut self) {
        // RFC 9113 section 8.5: an error of the TCP connection.
        self.send.send_reset(Reason::CONNECT_ERROR);
    }

    /// What arrived and was not read yet; for who reads frames rather than bytes.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Bytes that may be queued now, at most `want`. What is granted is the stream's until it is sent or given back by
    /// [`Self::release_send_capacity`].
    pub(crate) fn poll_send_capacity(
        &mut self,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(want);
        loop {
            let granted = self.send.capacity();
            if granted > 0 {
                return Poll::Ready(Ok(granted.min(want)));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(granted) => granted.map_err(io_error)?,
                None => return Poll::Ready(Err(self.closed(cx))),
            };
        }
    }

    /// Gives back what was granted and not used, so that other streams may have it.
    pub(crate) fn release_send_capacity(&mut self) {
        self.send.reserve_capacity(0);
    }

    /// Why nothing more can be sent.
    fn closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => io_error(reason.into()),
            Poll::Ready(Err(error)) => io_error(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    /// Tells the peer that `n` bytes were passed on.
    pub(crate) fn passed_on(&mut self, n: usize) {
        // Fails only when more is released than arrived.
        let _ = self.recv.flow_control().release_capacity(n);
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                Some(bytes) => self.rest = bytes.map_err(io_error)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest.split_to(n));
        self.passed_on(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = ready!(self.poll_send_capacity(bytes.len().min(MAX_WRITE), cx))?;
        let chunk = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        self.send.send_data(chunk, false).map_err(io_error)?;
        self.release_send_capacity();
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is queued is sent by the tunnel's own task.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io_error))
    }
}
