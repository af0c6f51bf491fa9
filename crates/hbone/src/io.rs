//! What HTTP/2 reads from and writes to: TLS over a buffered socket, or in tests the buffered socket alone.
//!
//! Invariants: HTTP/2 flushes after each large frame, the socket is written once at the end of the connection's turn; a
//! TLS record is made only when there is room for all of it, so that TLS never waits in the middle of one.

use crate::socket::BufferedSocket;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_boring::SslStream;

/// Room that one TLS record needs, with what surrounds it.
const RECORD: usize = 17 * 1024;
/// Reads of the socket in one turn: then the streams' tasks pass on what came.
const READS: u32 = 2;

/// A stream whose bytes end up in a buffered socket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    type Socket: AsyncRead + AsyncWrite + Unpin;

    fn socket(&mut self) -> &mut BufferedSocket<Self::Socket>;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for BufferedSocket<S> {
    type Socket = S;

    fn socket(&mut self) -> &mut BufferedSocket<S> {
        self
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for SslStream<BufferedSocket<S>> {
    type Socket = S;

    fn socket(&mut self) -> &mut BufferedSocket<S> {
        self.get_mut()
    }
}

/// A transport that HTTP/2 and its driver share.
#[derive(Debug)]
pub(crate) struct Io<T>(Rc<RefCell<T>>);

impl<T> Clone for Io<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Transport> Io<T> {
    pub(crate) fn new(transport: T) -> Self {
        Self(Rc::new(RefCell::new(transport)))
    }

    /// The driver's turn begins.
    pub(crate) fn start_turn(&self) {
        self.0.borrow_mut().socket().start_turn(READS);
    }

    /// The driver's turn ends: everything goes to the socket.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().socket().poll_send(cx)
    }

    /// Bytes that were received so far.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow_mut().socket().received()
    }
}

impl<T: Transport> AsyncRead for Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, out)
    }
}

impl<T: Transport> AsyncWrite for Io<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut transport = self.0.borrow_mut();
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            if transport.socket().room() < RECORD {
                match transport.socket().poll_send(cx) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending if written > 0 => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut *transport).poll_write(cx, rest) {
                Poll::Ready(n) => written += n?,
                Poll::Pending if written > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver sends at the end of its turn.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
