//! What a tunnel's driver reads from and writes to: TLS over a buffered socket, or in tests the buffered socket alone.
//!
//! Invariant: a TLS record is made only when there is room for all of it, so that TLS never waits in the middle of one.

use crate::buffer::Buffer;
use crate::socket::BufferedSocket;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_boring::SslStream;

/// Room that one TLS record needs, with what surrounds it.
const RECORD: usize = 17 * 1024;

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

/// How a buffer came to be full, or not.
#[derive(Debug)]
pub(crate) enum Filled {
    /// There may be more to read.
    Full,
    /// There is nothing more to read for now.
    Dry,
    /// The peer sends no more.
    End,
    Failed(io::Error),
}

/// Reads until the buffer is full or there is nothing more to read.
pub(crate) fn fill<T: Transport>(io: &mut T, buffer: &mut Buffer, cx: &mut Context<'_>) -> Filled {
    while buffer.room() > 0 {
        let mut spare = ReadBuf::new(buffer.spare());
        match Pin::new(&mut *io).poll_read(cx, &mut spare) {
            Poll::Pending => return Filled::Dry,
            Poll::Ready(Err(error)) => return Filled::Failed(error),
            Poll::Ready(Ok(())) => {
                let n = spare.filled().len();
                if n == 0 {
                    return Filled::End;
                }
                buffer.advance(n);
            }
        }
    }
    Filled::Full
}

/// Writes what can be written; how many bytes that was.
pub(crate) fn write<T: Transport>(
    io: &mut T,
    bytes: &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let result = if io.socket().room() < RECORD {
            io.socket().poll_send(cx)
        } else {
            Poll::Ready(Ok(()))
        };
        let result = match result {
            Poll::Ready(Ok(())) => Pin::new(&mut *io).poll_write(cx, rest),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        match result {
            Poll::Ready(n) => written += n?,
            Poll::Pending if written > 0 => break,
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(written))
}
