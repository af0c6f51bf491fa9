//! One direction of a copy: read into the thread's scratch buffer, write at once, and keep the rest only when
//! the reader's peer is full. Bulk goes through a pipe instead, which keeps the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::Pipe;
use crate::cores::moved;
use crate::scratch;

/// Reads in a row before other connections of the core get their turn.
const TURN: usize = 8;
/// After so many bytes, a direction whose reads are large is one of bulk.
const BULK: u64 = 1024 * 1024;
/// Such a read.
const LARGE: usize = 32 * 1024;
/// After a smaller one it is bulk no longer.
const SMALL: usize = 4 * 1024;

/// The state of one direction.
#[derive(Default)]
pub(super) struct Half {
    copied: u64,
    parked: Option<Parked>,
    bulk: Bulk,
    ended: bool,
    refused: Option<io::Error>,
}

/// Whether bytes go through a pipe.
#[derive(Default)]
enum Bulk {
    #[default]
    No,
    Yes,
    /// They do, and the destination takes no more for now.
    Blocked(Pipe),
    /// A pipe does not work for these sockets.
    Never,
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
            if self.ended {
                continue;
            }
            match self.bulk {
                Bulk::Yes | Bulk::Blocked(_) => ready!(self.poll_splice(from, to, cx))?,
                Bulk::No | Bulk::Never => ready!(self.poll_move(from, to, cx))?,
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
            moved(written);
            if self.copied >= BULK && bytes.len() >= LARGE && matches!(self.bulk, Bulk::No) {
                self.bulk = Bulk::Yes;
            }
            if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                self.parked = Some(Parked {
                    bytes: rest.into(),
                    written: 0,
                });
            }
            Poll::Ready(Ok(()))
        })
    }

    /// The same through a pipe.
    fn poll_splice(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = match std::mem::replace(&mut self.bulk, Bulk::Yes) {
            Bulk::Blocked(pipe) => pipe,
            _ => match Pipe::take() {
                Ok(pipe) => pipe,
                Err(error) => return self.without_pipe(&error),
            },
        };
        if pipe.filled() == 0 {
            let Poll::Ready(ready) = from.poll_read_ready(cx) else {
                pipe.give_back();
                return Poll::Pending;
            };
            match ready.and_then(|()| from.try_io(Interest::READABLE, || pipe.fill(&*from))) {
                Ok(0) => {
                    pipe.give_back();
                    self.ended = true;
                    return Poll::Ready(super::shutdown_write(to));
                }
                Ok(n) if n < SMALL => self.bulk = Bulk::No,
                Ok(_) => {}
                Err(error) => {
                    pipe.give_back();
                    return match error.kind() {
                        io::ErrorKind::WouldBlock => Poll::Ready(Ok(())),
                        io::ErrorKind::InvalidInput => self.without_pipe(&error),
                        _ => Poll::Ready(Err(error)),
                    };
                }
            }
        }
        while pipe.filled() > 0 {
            let Poll::Ready(ready) = to.poll_write_ready(cx) else {
                self.bulk = Bulk::Blocked(pipe);
                return Poll::Pending;
            };
            match ready.and_then(|()| to.try_io(Interest::WRITABLE, || pipe.drain(&*to))) {
                Ok(n) => {
                    self.copied += n as u64;
                    moved(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.refuse(error);
                    break;
                }
            }
        }
        pipe.give_back();
        Poll::Ready(Ok(()))
    }

    fn without_pipe(&mut self, error: &io::Error) -> Poll<io::Result<()>> {
        tracing::debug!(%error, "bulk goes without a pipe");
        self.bulk = Bulk::Never;
        Poll::Ready(Ok(()))
    }

    fn refuse(&mut self, error: io::Error) {
        self.refused = Some(error);
        self.parked = None;
        self.ended = true;
    }
}
