//! One direction of a copy: read into the thread's scratch buffer, write at once, and keep the rest only when
//! the reader's peer is full.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::scratch;

/// Reads in a row before other connections of the core get their turn.
const TURN: usize = 8;

/// The state of one direction.
#[derive(Default)]
pub(super) struct Half {
    copied: u64,
    parked: Option<Parked>,
    ended: bool,
}

/// Bytes that were read and could not be written yet.
struct Parked {
    bytes: Box<[u8]>,
    written: usize,
}

impl Half {
    /// Bytes that were written so far.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Move what can be moved. Ready when the source has ended and the destination was told.
    pub(super) fn poll(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            ready!(self.poll_parked(to, cx))?;
            if ready!(self.poll_move(from, to, cx))? == 0 {
                super::shutdown_write(to)?;
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Write what is parked; ready when nothing is.
    fn poll_parked(&mut self, to: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(parked) = &mut self.parked {
            let rest = parked.bytes.get(parked.written..).unwrap_or_default();
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.copied += written as u64;
            parked.written += written;
            if parked.written >= parked.bytes.len() {
                self.parked = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One read and the write of it. Ready with the number of bytes read; what was not written is parked.
    fn poll_move(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        scratch::with(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let written = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.copied += written as u64;
            if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                self.parked = Some(Parked {
                    bytes: rest.into(),
                    written: 0,
                });
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}
