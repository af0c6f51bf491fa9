//! The socket under TLS. BoringSSL reads a record in two steps and writes it in one, 16 KiB at most; this turns many
//! records into one system call.
//!
//! Invariants: buffers are held only while bytes are in them; what was written reaches the socket at the next flush.

use crate::buffer::{Buffer, SIZE};
use culvert_runtime::net;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Unsent bytes that the kernel holds for a tunnel: what waits beyond them waits in HTTP/2, where streams take turns.
const UNSENT: u32 = 64 * 1024;

/// Sets what a tunnel's socket needs beside what every socket has.
pub(crate) fn prepare(tcp: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
}

/// A socket with a large read and a large write buffer.
#[derive(Debug)]
pub(crate) struct BufferedSocket<S> {
    inner: S,
    read: Option<Buffer>,
    write: Option<Buffer>,
    /// Reads of the socket that are left before other tasks of the core get their turn.
    turn: u32,
    received: u64,
}

impl<S> BufferedSocket<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            read: None,
            write: None,
            turn: u32::MAX,
            received: 0,
        }
    }

    /// Limits the reads of the socket until the next call.
    pub(crate) fn start_turn(&mut self, reads: u32) {
        self.turn = reads;
    }

    /// Bytes that were received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The socket takes no more for now: little that waits does not keep a large buffer.
    pub(crate) fn settle(&mut self) {
        if let Some(buffer) = &mut self.write
            && buffer.filled().len() < SIZE / 8
        {
            buffer.shrink();
        }
    }

    /// Bytes that can be written without touching the socket.
    pub(crate) fn room(&self) -> usize {
        self.write.as_ref().map_or(SIZE, Buffer::room)
    }
}

impl BufferedSocket<TcpStream> {
    /// How long the way to the peer and back is, if the kernel knows.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        net::least_round_trip(&self.inner)
            .inspect_err(|error| tracing::debug!(%error, "TCP_INFO"))
            .unwrap_or_default()
    }
}

impl<S: AsyncRead + Unpin> BufferedSocket<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read.is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.turn == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut buffer = Buffer::take();
        let mut spare = ReadBuf::new(buffer.spare());
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut spare))?;
        let n = spare.filled().len();
        self.turn -= 1;
        self.received += n as u64;
        if n > 0 {
            buffer.advance(n);
            self.read = Some(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> BufferedSocket<S> {
    /// Writes everything to the socket.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(buffer) = &mut self.write {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buffer.filled()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffer.consume(n);
            if buffer.filled().is_empty() {
                self.write = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BufferedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_fill(cx))?;
        if let Some(buffer) = &mut self.read {
            let n = out.remaining().min(buffer.filled().len());
            out.put_slice(buffer.filled().get(..n).unwrap_or_default());
            buffer.consume(n);
            if buffer.filled().is_empty() {
                self.read = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BufferedSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.room() == 0 {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(self.write.get_or_insert_with(Buffer::take).put(bytes)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn writes_wait_for_the_flush() {
        let (a, mut b) = duplex(1 << 20);
        let mut socket = BufferedSocket::new(a);
        for _ in 0..1000 {
            socket.write_all(b"0123456789").await.unwrap();
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = vec![0; 10_000];
        assert!(
            Pin::new(&mut b)
                .poll_read(&mut cx, &mut ReadBuf::new(&mut bytes))
                .is_pending()
        );
        socket.flush().await.unwrap();
        assert!(socket.write.is_none(), "no buffer is held");
        b.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"0123456789".repeat(1000));
    }

    #[tokio::test]
    async fn many_small_reads_of_one_fill() {
        let (a, mut b) = duplex(1 << 20);
        let mut socket = BufferedSocket::new(a);
        b.write_all(&[7; 100]).await.unwrap();
        socket.start_turn(1);
        let mut small = [0; 10];
        for _ in 0..10 {
            socket.read_exact(&mut small).await.unwrap();
        }
        assert!(socket.read.is_none(), "no buffer is held");
        assert_eq!(socket.received(), 100);
        b.write_all(&[7; 100]).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let over = Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut small));
        assert!(over.is_pending(), "the turn is over");
        socket.start_turn(1);
        socket.read_exact(&mut small).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_socket_pushes_back() {
        let (a, mut b) = duplex(1000);
        let mut socket = BufferedSocket::new(a);
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        while let Poll::Ready(n) = Pin::new(&mut socket).poll_write(&mut cx, &[1; 10_000]) {
            written += n.unwrap();
            assert!(written < 10 * SIZE);
        }
        let mut bytes = vec![0; written];
        let (sent, read) = tokio::join!(socket.flush(), b.read_exact(&mut bytes));
        sent.unwrap();
        read.unwrap();
    }
}
