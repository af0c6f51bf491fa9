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
    refused: Option<io::Error>,
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

    /// Why the destination took no more, if it did not.
    pub(super) fn take_refusal(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    /// Move what can be moved. Ready when the source has ended and the destination was told, or when the
    /// destination refuses: what it sent before that is still worth delivering, so this is an error only
    /// once the other direction has ended too. A failing source is an error at once.
    pub(super) fn poll(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURN {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_parked(to, cx));
            if !self.ended {
                ready!(self.poll_move(from, to, cx))?;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Write what is parked; ready when nothing is.
    fn poll_parked(&mut self, to: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(parked) = &mut self.parked {
            let rest = parked.bytes.get(parked.written..).unwrap_or_default();
            match ready!(Pin::new(&mut *to).poll_write(cx, rest)) {
                Ok(0) => self.refuse(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.copied += written as u64;
                    parked.written += written;
                    if parked.written >= parked.bytes.len() {
                        self.parked = None;
                    }
                }
                Err(error) => self.refuse(error),
            }
        }
        Poll::Ready(())
    }

    /// One read and the write of it; what was not written is parked.
    fn poll_move(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::with(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.ended = true;
                return Poll::Ready(super::shutdown_write(to));
            }
            let written = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => {
                    self.refuse(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => 0,
            };
            self.copied += written as u64;
            if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                self.parked = Some(Parked {
                    bytes: rest.into(),
                    written: 0,
                });
            }
            Poll::Ready(Ok(()))
        })
    }

    fn refuse(&mut self, error: io::Error) {
        self.refused = Some(error);
        self.parked = None;
        self.ended = true;
    }
}
