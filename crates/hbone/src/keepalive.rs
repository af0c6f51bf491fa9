//! Liveness of a tunnel: a PING where nothing arrives, and the end where nothing answers. The first PING, sent with the
//! connection's first bytes, measures the way.
//!
//! Invariant: a peer from which nothing arrives for interval plus timeout is given up; one that sends anything is alive.

use crate::config::TunnelConfig;
use h2::{Ping, PingPong};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// What there is to know of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first PING took so long to be answered.
    RoundTrip(Duration),
    /// The peer is gone.
    Gone,
}

pub(crate) struct Keepalive {
    pings: Option<PingPong>,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    received: u64,
    /// When the first PING was sent, until it is answered.
    first: Option<Instant>,
}

impl Keepalive {
    pub(crate) fn new(pings: Option<PingPong>, config: &TunnelConfig) -> Self {
        let mut keepalive = Self {
            pings,
            interval: config.ping_interval,
            timeout: config.ping_timeout,
            timer: Box::pin(sleep(config.ping_timeout)),
            waiting: false,
            received: 0,
            first: Some(Instant::now()),
        };
        keepalive.send();
        keepalive
    }

    fn send(&mut self) {
        // Fails only where the connection is closing anyway.
        self.waiting = self
            .pings
            .as_mut()
            .is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
    }

    /// What happened. `received` counts all bytes that ever arrived.
    pub(crate) fn poll(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Event> {
        let answered = self.waiting
            && self
                .pings
                .as_mut()
                .is_some_and(|p| p.poll_pong(cx).is_ready());
        if answered {
            self.waiting = false;
            self.timer.as_mut().reset(Instant::now() + self.interval);
            if let Some(first) = self.first.take() {
                return Poll::Ready(Event::RoundTrip(first.elapsed()));
            }
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let alive = std::mem::replace(&mut self.received, received) != received;
            if !alive && self.waiting {
                return Poll::Ready(Event::Gone);
            }
            let mut wait = self.interval;
            if !alive {
                self.send();
                wait = self.timeout;
            }
            self.timer.as_mut().reset(Instant::now() + wait);
            if self.waiting
                && self
                    .pings
                    .as_mut()
                    .is_some_and(|p| p.poll_pong(cx).is_ready())
            {
                // The connection is closing: whoever drives it learns that from the connection.
                self.waiting = false;
            }
        }
    }
}
