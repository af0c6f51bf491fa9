//! From the tunnel to the application.
//!
//! Invariant: the peer gets window back only for bytes that the application has taken.

use crate::TunnelStream;
use crate::error::io_error;
use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

/// Writes in a row before other streams of the core get their turn.
const TURN: usize = 8;
/// Frames in one write.
const FRAMES: usize = 16;
/// Bytes that are gathered for one write.
const GATHER: usize = 128 * 1024;

/// The state of the direction.
#[derive(Default)]
pub(super) struct Down {
    copied: u64,
    queue: VecDeque<Bytes>,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    /// The tunnel's peer has ended its side.
    Ending,
    Ended,
    /// The application takes no more. What it sent before is still worth delivering.
    Refused(io::Error),
}

impl Down {
    /// Bytes that the application has taken.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Whether nothing more arrives from the tunnel.
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
        if matches!(self.state, State::Ended | State::Refused(_)) {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            self.gather(tunnel, cx)?;
            if self.queue.is_empty() {
                // An idle stream keeps no memory for frames.
                self.queue = VecDeque::new();
                if !matches!(self.state, State::Ending) {
                    return Poll::Pending;
                }
                self.state = State::Ended;
                return Poll::Ready(shutdown_write(app));
            }
            match ready!(self.poll_write(app, cx)) {
                Ok(n) => {
                    self.copied += n as u64;
                    tunnel.passed_on(n);
                }
                Err(error) => {
                    self.queue = VecDeque::new();
                    self.state = State::Refused(error);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the frames that are there.
    fn gather(&mut self, tunnel: &mut TunnelStream, cx: &mut Context<'_>) -> io::Result<()> {
        let rest = tunnel.take_rest();
        if !rest.is_empty() {
            self.queue.push_back(rest);
        }
        let mut size: usize = self.queue.iter().map(Bytes::len).sum();
        while size < GATHER && self.queue.len() < FRAMES && matches!(self.state, State::Open) {
            match tunnel.recv.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.state = State::Ending,
                Poll::Ready(Some(frame)) => {
                    let frame = frame.map_err(io_error)?;
                    size += frame.len();
                    if !frame.is_empty() {
                        self.queue.push_back(frame);
                    }
                }
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, app: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let app = Pin::new(app);
        let mut slices = [IoSlice::new(&[]); FRAMES];
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(frame);
        }
        let used = slices
            .get(..self.queue.len().min(FRAMES))
            .unwrap_or_default();
        let n = ready!(app.poll_write_vectored(cx, used))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let mut left = n;
        while let Some(frame) = self.queue.front_mut() {
            if left < frame.len() {
                frame.advance(left);
                break;
            }
            left -= frame.len();
            self.queue.pop_front();
        }
        Poll::Ready(Ok(n))
    }
}

/// Tells the application that no more bytes come. One that has gone is found by the other direction.
fn shutdown_write(app: &TcpStream) -> io::Result<()> {
    match socket2::SockRef::from(app).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
