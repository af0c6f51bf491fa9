//! What drives a server's connection: frames in, streams out, liveness, idleness, drain.
//!
//! Invariant: each turn ends with one write of everything that the turn produced.

use super::{Incoming, Peer};
use crate::config::TunnelConfig;
use crate::error::ServerError;
use crate::io::{Io, Transport};
use crate::keepalive::{Event, Keepalive};
use bytes::Bytes;
use culvert_runtime::drain::Drain;
use h2::server::Connection;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

pub(super) struct Driver<'a, T> {
    connection: Connection<Io<T>, Bytes>,
    io: Io<T>,
    peer: Peer,
    keepalive: Keepalive,
    idle: Idle,
    config: &'a TunnelConfig,
    draining: Pin<Box<dyn Future<Output = ()> + 'a>>,
    closing: bool,
}

impl<'a, T: Transport> Driver<'a, T> {
    pub(super) fn new(
        mut connection: Connection<Io<T>, Bytes>,
        io: Io<T>,
        peer: Peer,
        config: &'a TunnelConfig,
        drain: &'a Drain,
    ) -> Self {
        let keepalive = Keepalive::new(connection.ping_pong(), config);
        let draining = Box::pin(drain.signaled());
        Self {
            connection,
            io,
            peer,
            keepalive,
            idle: Idle::new(config),
            config,
            draining,
            closing: false,
        }
    }

    pub(super) async fn run(mut self, mut on: impl FnMut(Incoming)) -> Result<(), ServerError> {
        poll_fn(|cx| self.turn(&mut on, cx)).await
    }

    fn turn(
        &mut self,
        on: &mut impl FnMut(Incoming),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ServerError>> {
        if !self.closing && self.draining.as_mut().poll(cx).is_ready() {
            self.close();
        }
        self.io.start_turn();
        let result = self.poll_streams(on, cx);
        // After reading: a peer isn't gone when what it sent was only not read yet.
        while let Poll::Ready(event) = self.keepalive.poll(self.io.received(), cx) {
            match event {
                Event::Gone => return Poll::Ready(Err(ServerError::Gone)),
                Event::RoundTrip(way) => self.fit(way, cx),
            }
        }
        if result.is_pending()
            && !self.closing
            && self.idle.poll(self.connection.has_streams(), cx).is_ready()
        {
            if self.idle.unused {
                return Poll::Ready(Err(ServerError::Timeout("no CONNECT")));
            }
            self.close();
            // To be polled again, which sends the GOAWAY.
            cx.waker().wake_by_ref();
        }
        match self.io.poll_send(cx) {
            Poll::Ready(Err(error)) if result.is_pending() => {
                Poll::Ready(Err(ServerError::Http2(error.to_string())))
            }
            _ => result,
        }
    }

    fn poll_streams(
        &mut self,
        on: &mut impl FnMut(Incoming),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ServerError>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(ServerError::Http2(error.to_string())));
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.idle.unused = false;
                    if let Some(incoming) = Incoming::new(request, respond, &self.peer) {
                        on(incoming);
                    }
                }
            }
        }
    }

    /// A long way takes larger windows.
    fn fit(&mut self, way: Duration, cx: &Context<'_>) {
        if let Some(window) = self.config.far_window(way) {
            // Fails only where the first SETTINGS are not acknowledged yet, which the PING came after.
            let _ = self.connection.set_initial_window_size(window);
            // To be polled again, which sends it.
            cx.waker().wake_by_ref();
        }
    }

    /// GOAWAY; open streams finish, and those that the client opened before it knew.
    fn close(&mut self) {
        self.closing = true;
        self.connection.graceful_shutdown();
    }
}

/// When a connection without streams is closed.
struct Idle {
    /// No stream was ever opened.
    unused: bool,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    since: Option<Instant>,
}

impl Idle {
    fn new(config: &TunnelConfig) -> Self {
        let since = Some(Instant::now());
        Self {
            unused: true,
            limit: config.idle * 2,
            timer: Box::pin(sleep(config.connect)),
            since,
        }
    }

    /// Ready when the connection has been without streams for long enough. The timer is touched when it fires only.
    fn poll(&mut self, has_streams: bool, cx: &mut Context<'_>) -> Poll<()> {
        if has_streams {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let until = self.since.unwrap_or(now) + self.limit;
            if self.unused || until <= now {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
