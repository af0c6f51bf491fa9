//! From the application into the tunnel.
//!
//! Invariant: nothing is read before the stream may send it.

use crate::TunnelStream;
use crate::buffer::SIZE;
use crate::engine::{Code, StreamError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Reads in a row before other streams of the core get their turn.
const TURN: usize = 4;

/// The state of the direction.
pub(super) struct Up {
    copied: u64,
    ended: bool,
}

impl Up {
    /// So many bytes went ahead.
    pub(super) fn after(ahead: u64) -> Self {
        Self {
            copied: ahead,
            ended: false,
        }
    }

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
                    Poll::Ready(Err(ready!(tunnel.poll_reset(cx)).into()))
                } else {
                    Poll::Pending
                };
            }
            // A read that comes back short is the last one before the socket is ready again, so that nobody reads in
            // vain.
            let mut dry = false;
            let read = tunnel.poll_fill(SIZE, cx, |cx, to| {
                let mut to = ReadBuf::new(to);
                let read = Pin::new(&mut *app).poll_read(cx, &mut to);
                dry = read.is_pending();
                ready!(read)?;
                Poll::Ready(Ok(to.filled().len()))
            });
            if dry {
                continue;
            }
            let n = ready!(read)?;
            self.copied += n as u64;
            if n == 0 {
                self.ended = true;
                return Poll::Ready(tunnel.end());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn is_no_error(error: &io::Error) -> bool {
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<StreamError>());
    error == Some(&StreamError::Reset(Code::NO_ERROR))
}
