//! One stream of a tunnel: the bytes of one TCP connection.
//!
//! Invariants: the peer may send as much as was passed on, no more; the end of one direction closes only that one; a
//! stream that is dropped before both directions have ended is reset.

use crate::engine::{Code, Connection, StreamError};
use crate::shared::Shared;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream's number, and the only right to it.
pub(crate) struct StreamHandle {
    shared: Shared,
    id: u32,
    /// Bytes that were sent before the copy began.
    ahead: u32,
}

impl StreamHandle {
    /// For a stream that was just opened.
    pub(crate) fn new(shared: Shared, id: u32) -> Self {
        let ahead = 0;
        Self { shared, id, ahead }
    }

    /// Queues what may be sent at once.
    pub(crate) fn send_ahead(&mut self, bytes: &[u8]) {
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(n)) = self.poll_put(bytes, &mut nobody) {
            self.ahead += n as u32;
        }
    }

    fn poll_put(&self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.with(|c, id| {
            c.fill(id, bytes.len(), cx, |_, to| {
                let n = bytes.len().min(to.len());
                if let (Some(to), Some(from)) = (to.get_mut(..n), bytes.get(..n)) {
                    to.copy_from_slice(from);
                }
                Poll::Ready(Ok(n))
            })
        })
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Connection, u32) -> R) -> R {
        self.shared.with(|connection| f(connection, self.id))
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.with(Connection::release);
    }
}

/// A stream of a tunnel.
pub struct TunnelStream {
    handle: StreamHandle,
    _active: Option<Active>,
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream")
            .field("id", &self.handle.id)
            .finish_non_exhaustive()
    }
}

/// Counts a stream of a tunnel for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active(Rc<Cell<usize>>);

impl Active {
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl TunnelStream {
    pub(crate) fn new(handle: StreamHandle, active: Option<Active>) -> Self {
        Self {
            handle,
            _active: active,
        }
    }

    /// Queues the part of `bytes` that could not be sent ahead of the answer.
    pub(crate) async fn send_rest(&mut self, bytes: &[u8]) -> io::Result<()> {
        while let Some(rest) = bytes.get(self.handle.ahead as usize..)
            && !rest.is_empty()
        {
            let n = poll_fn(|cx| self.handle.poll_put(rest, cx)).await?;
            self.handle.ahead += n as u32;
        }
        Ok(())
    }

    /// Bytes that were sent ahead of the copy.
    pub(crate) fn sent_ahead(&self) -> u64 {
        self.handle.ahead.into()
    }

    /// Ends both directions at once, as a TCP reset does.
    pub fn reset(&mut self) {
        // RFC 9113 section 8.5: an error of the TCP connection.
        self.handle.with(|c, id| c.reset(id, Code::CONNECT_ERROR));
    }

    /// Lets `read` put at most `want` bytes to where they are sent from. Ready with how many there were; pending either
    /// because `read` was, or because the stream may not send yet.
    pub(crate) fn poll_fill(
        &mut self,
        want: usize,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.handle.with(|c, id| c.fill(id, want, cx, read))
    }

    /// Nothing more is sent.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        Ok(self.handle.with(Connection::end)?)
    }

    /// Ready when the peer wants no more of what is sent.
    pub(crate) fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<StreamError> {
        self.handle.with(|c, id| c.poll_reset(id, cx))
    }

    /// Lets `write` take what has arrived. Ready with how many bytes it took, or nothing when the peer has ended its
    /// side; pending either because `write` was, or because nothing is there.
    pub(crate) fn poll_drain<const N: usize>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<Result<Option<io::Result<usize>>, StreamError>> {
        self.handle.with(|connection, id| {
            if !ready!(connection.poll_data(id, cx))? {
                return Poll::Ready(Ok(None));
            }
            let mut slices = [IoSlice::new(&[]); N];
            let used = connection.lend(id, &mut slices);
            let Poll::Ready(written) = write(cx, slices.get(..used).unwrap_or_default()) else {
                // A reset does not wait until the application takes what came before it.
                return connection.poll_broken(id, cx).map(Err);
            };
            if let Ok(n) = written {
                connection.consume(id, n);
            }
            Poll::Ready(Ok(Some(written)))
        })
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.handle.with(|connection, id| {
            if !ready!(connection.poll_data(id, cx))? {
                return Poll::Ready(Ok(()));
            }
            let front = connection.front(id);
            let n = front.len().min(out.remaining());
            out.put_slice(front.get(..n).unwrap_or_default());
            connection.consume(id, n);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll_put(bytes, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is sent by the tunnel's own task.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}
