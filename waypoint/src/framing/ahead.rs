//! Notices that a client has gone while nobody reads from it.
//!
//! The HTTP library does not read while a request waits for its answer, so that a client may close its sending side
//! and still get one. A client that has reset its connection would then go unnoticed until something is written.
//!
//! Invariant: at most one read is ahead of the reader, and it is given to the reader first.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use culvert_runtime::scratch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest read ahead.
const AHEAD: usize = 4096;

/// A stream that its reader and its watcher share. Both must be polled by one task: the stream wakes one only.
#[derive(Debug)]
pub struct Watched<S>(Rc<RefCell<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    ahead: Bytes,
    ended: bool,
}

impl<S> Watched<S> {
    /// Shares `stream`.
    pub fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            stream,
            ahead: Bytes::new(),
            ended: false,
        })))
    }
}

impl<S> Clone for Watched<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Ready once the client has reset the stream.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let inner = &mut *self.0.borrow_mut();
        if inner.ended || !inner.ahead.is_empty() {
            return Poll::Pending;
        }
        scratch::with(|buffer| inner.poll_ahead(buffer, cx))
    }
}

impl<S: AsyncRead + Unpin> Inner<S> {
    fn poll_ahead(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut read = ReadBuf::new(buffer.get_mut(..AHEAD).unwrap_or_default());
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) => {
                self.ended = read.filled().is_empty();
                self.ahead = Bytes::copy_from_slice(read.filled());
                // The reader may be waiting for exactly this.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if !inner.ahead.is_empty() {
            let count = inner.ahead.len().min(buf.remaining());
            buf.put_slice(inner.ahead.get(..count).unwrap_or_default());
            inner.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        if inner.ended {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut inner.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_not_lost() {
        let (mut client, server) = duplex(100);
        let mut watched = Watched::new(server);
        client.write_all(b"ahead").await.unwrap();
        let other = watched.clone();
        assert!(poll_fn(|cx| Poll::Ready(other.poll_gone(cx).is_pending())).await);
        client.write_all(b" and behind").await.unwrap();
        assert!(poll_fn(|cx| Poll::Ready(other.poll_gone(cx).is_pending())).await);
        drop(client);
        let mut all = String::new();
        watched.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "ahead and behind");
        assert!(
            poll_fn(|cx| Poll::Ready(other.poll_gone(cx).is_pending())).await,
            "an end in order is no loss"
        );
    }

    #[tokio::test]
    async fn a_reset_is_noticed() {
        let reset = Watched::new(Reset);
        let error = poll_fn(|cx| reset.poll_gone(cx)).await;
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// A stream whose client has reset it.
    struct Reset;

    impl AsyncRead for Reset {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
}
