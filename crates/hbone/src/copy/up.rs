//! From the application into the tunnel.
//!
//! Invariant: nothing is read before the stream may send it, and no window is held while there is nothing to read.

use crate::TunnelStream;
use crate::buffer::{Buffer, SIZE};
use crate::error::io_error;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Reads in a row before other streams of the core get their turn.
const TURN: usize = 4;
/// Less than this is copied to memory of its own size, so that a frame that waits does not pin a large buffer.
const OWN_MEMORY: usize = SIZE / 4;

/// The state of the direction.
#[derive(Default)]
pub(super) struct Up {
    copied: u64,
    ended: bool,
}

impl Up {
    /// Bytes that were queued in the tunnel.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Moves what can be moved. Ready when the application has ended its side, or the peer wants no more of it.
    pub(super) fn poll(
        &mut self,
        app: &mut TcpStream,
        tunnel: &mut TunnelStream,
        down_ended: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        match self.poll_move(app, tunnel, down_ended, cx) {
            // RFC 9113 section 8.1: after a complete answer, this says that the rest is not wanted. Whether the answer
            // is complete shows when it has been passed on.
            Poll::Ready(Err(error)) if is_no_error(&error) => {
                self.ended = down_ended;
                if down_ended {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
            result => result,
        }
    }

    fn poll_move(
        &mut self,
        app: &mut TcpStream,
        tunnel: &mut TunnelStream,
        down_ended: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURN {
            if app.poll_read_ready(cx)?.is_pending() {
                // While data may still arrive, a reset arrives the same way.
                return if down_ended {
                    poll_reset(tunnel, cx)
                } else {
                    Poll::Pending
                };
            }
            let granted = ready!(tunnel.poll_send_capacity(SIZE, cx))?;
            let Poll::Ready(chunk) = poll_read(app, granted, cx)? else {
                tunnel.release_send_capacity();
                continue;
            };
            self.copied += chunk.len() as u64;
            self.ended = chunk.is_empty();
            tunnel.send.send_data(chunk, self.ended).map_err(io_error)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            tunnel.release_send_capacity();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn is_no_error(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|e| e.downcast_ref::<h2::Error>());
    error.is_some_and(|e| e.is_reset() && e.reason() == Some(h2::Reason::NO_ERROR))
}

fn poll_reset(tunnel: &mut TunnelStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let reason = ready!(tunnel.send.poll_reset(cx)).map_err(io_error)?;
    Poll::Ready(Err(io_error(reason.into())))
}

/// What the application has sent, at most `limit`; empty at its end. A read that comes back short is the last one before
/// the socket is ready again, so that nobody reads in vain.
fn poll_read(app: &mut TcpStream, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut buffer = Buffer::take();
    let spare = buffer.spare();
    let limit = limit.min(spare.len());
    let mut spare = ReadBuf::new(spare.get_mut(..limit).unwrap_or_default());
    ready!(Pin::new(app).poll_read(cx, &mut spare))?;
    let n = spare.filled().len();
    buffer.advance(n);
    Poll::Ready(Ok(if n < OWN_MEMORY {
        Bytes::copy_from_slice(buffer.filled())
    } else {
        Bytes::from_owner(buffer)
    }))
}
