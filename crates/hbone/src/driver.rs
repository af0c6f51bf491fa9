//! What drives a tunnel at either end: bytes in, bytes out, liveness, and an end in order.
//!
//! Invariants: a turn reads a bounded amount, so that the streams' tasks pass on what came before more is read; what all
//! of them have to send goes out in one go; a tunnel whose driver is gone has no open streams.

use crate::buffer::Buffer;
use crate::config::TunnelConfig;
use crate::engine::{Connection, Failure, Head};
use crate::io::{self, Filled, Transport};
use crate::keepalive::{Event, Keepalive};
use crate::shared::Shared;
use bytes::Bytes;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Reads of the socket in one turn.
const READS: u32 = 2;
/// How long the last bytes of a tunnel may take, such as those that say why it ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a tunnel ended.
pub(crate) type End = Result<(), Failure>;

/// The driver of one tunnel. It owns the transport.
pub(crate) struct Driver<T> {
    io: T,
    shared: Shared,
    keepalive: Keepalive,
    /// The last bytes are on their way.
    ending: Option<(End, Pin<Box<Sleep>>)>,
}

impl<T: Transport> Driver<T> {
    pub(crate) fn new(io: T, connection: Connection, config: &TunnelConfig) -> Self {
        Self {
            io,
            shared: Shared::new(connection),
            keepalive: Keepalive::new(config),
            ending: None,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// One turn. `on` is given each request.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        on: &mut dyn FnMut(u32, Head),
    ) -> Poll<End> {
        if self.ending.is_none()
            && let Some(end) = self.turn(cx, on)
        {
            self.ending = Some((end, Box::pin(sleep(FAREWELL))));
        }
        let sent = self.send(cx);
        if let Some((end, deadline)) = &mut self.ending {
            let done = match sent {
                Poll::Ready(Ok(())) => Pin::new(&mut self.io).poll_shutdown(cx).is_ready(),
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            };
            if done || deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(*end);
            }
        } else if let Poll::Ready(Err(failure)) = sent {
            self.shared.drive(|connection| connection.fail(failure));
            return Poll::Ready(Err(failure));
        }
        self.shared.rest(sent.is_pending(), cx);
        Poll::Pending
    }

    /// Everything but sending; how the tunnel ends, if it does.
    fn turn(&mut self, cx: &mut Context<'_>, on: &mut dyn FnMut(u32, Head)) -> Option<End> {
        let end = self.receive(cx, on);
        // After reading: a peer isn't gone when what it sent was only not read yet.
        if self.stay_alive(cx).is_err() {
            self.shared
                .drive(|connection| connection.fail(Failure::Gone));
            return Some(Err(Failure::Gone));
        }
        end.or_else(|| self.shared.drive(|c| c.is_over()).then_some(Ok(())))
    }

    fn receive(&mut self, cx: &mut Context<'_>, on: &mut dyn FnMut(u32, Head)) -> Option<End> {
        self.io.socket().start_turn(READS);
        loop {
            let mut buffer = Buffer::take();
            let filled = io::fill(&mut self.io, &mut buffer, cx);
            if !buffer.filled().is_empty() {
                let now = self.shared.now();
                self.shared.moved(buffer.filled().len());
                let bytes = Bytes::from_owner(buffer);
                if let Err(failure) = self.shared.drive(|c| c.receive(bytes, now)) {
                    return Some(Err(failure));
                }
                while let Some((id, head)) = self.shared.drive(Connection::take_request) {
                    on(id, head);
                }
            }
            match filled {
                Filled::Full => {}
                Filled::Dry => return None,
                Filled::End => return Some(self.shared.drive(Connection::peer_left)),
                Filled::Failed(error) => {
                    tracing::debug!(%error, "a tunnel's transport failed");
                    let failure = Failure::Io(error.kind());
                    self.shared.drive(|connection| connection.fail(failure));
                    return Some(Err(failure));
                }
            }
        }
    }

    fn stay_alive(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        if self.shared.drive(Connection::take_pong) {
            self.keepalive.answered();
        }
        let received = self.io.socket().received();
        while let Poll::Ready(event) = self.keepalive.poll(received, cx) {
            match event {
                Event::Gone => return Err(()),
                Event::Ask => self.shared.drive(Connection::ping),
            }
        }
        Ok(())
    }

    /// Sends what there is. Pending while the socket takes no more.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let failed = |error: std::io::Error| Failure::Io(error.kind());
        let (io, shared) = (&mut self.io, &self.shared);
        let sent = loop {
            let written = shared.drive(|connection| {
                let written = connection.output().map(|bytes| io::write(io, bytes, cx));
                if let Some(Poll::Ready(Ok(n))) = written {
                    connection.sent(n);
                }
                written
            });
            match written {
                None => break self.io.socket().poll_send(cx).map_err(failed),
                Some(Poll::Ready(Ok(n))) => shared.moved(n),
                Some(Poll::Ready(Err(error))) => break Poll::Ready(Err(failed(error))),
                Some(Poll::Pending) => break Poll::Pending,
            }
        };
        match sent {
            Poll::Ready(Ok(())) => {
                if self.shared.drive(Connection::all_sent) {
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.shared.drive(Connection::blocked);
                self.io.socket().settle();
            }
        }
        sent
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.shared
            .drive(|connection| connection.fail(Failure::Closed));
    }
}
