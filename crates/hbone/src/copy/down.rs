//! From the tunnel to the application.
//!
//! Invariant: the peer gets window back only for bytes that the application has taken.

use crate::TunnelStream;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

/// Writes in a row before other streams of the core get their turn.
const TURN: usize = 8;
/// Pieces in one write.
const PIECES: usize = 16;

/// The state of the direction.
#[derive(Default)]
pub(super) struct Down {
    copied: u64,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    Ended,
    /// The application takes no more. What it sent before is still worth delivering.
    Refused(io::Error),
}

impl Down {
    /// Bytes that the application has taken.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Whether nothing more goes to the application.
    pub(super) fn ended(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// Why the application took no more, if it did not.
    pub(super) fn refusal(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Refused(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves what can be moved. Ready when the application has got everything, or refuses it.
    pub(super) fn poll(
        &mut self,
        app: &mut TcpStream,
        tunnel: &mut TunnelStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended() {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            let written = tunnel.poll_drain::<PIECES>(cx, |cx, pieces| {
                match ready!(Pin::new(&mut *app).poll_write_vectored(cx, pieces)) {
                    Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    result => Poll::Ready(result),
                }
            });
            match ready!(written)? {
                Some(Ok(n)) => self.copied += n as u64,
                Some(Err(error)) => {
                    self.state = State::Refused(error);
                    return Poll::Ready(Ok(()));
                }
                None => {
                    self.state = State::Ended;
                    return Poll::Ready(shutdown_write(app));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Tells the application that no more bytes come. One that has gone is found by the other direction.
fn shutdown_write(app: &TcpStream) -> io::Result<()> {
    match socket2::SockRef::from(app).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
