//! Liveness of a tunnel: a PING where nothing arrives, and the end where nothing answers. The first PING, sent with the
//! connection's first bytes, measures the way.
//!
//! Invariant: a peer from which nothing arrives for interval plus timeout is given up; one that sends anything is alive.

use crate::config::TunnelConfig;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A PING is to be sent.
    Ask,
    /// The first PING took so long to be answered.
    RoundTrip(Duration),
    /// The peer is gone.
    Gone,
}

/// The state of one tunnel. Whoever makes it sends a PING at once.
pub(crate) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    received: u64,
    /// When the first PING was sent, until it is answered.
    first: Option<Instant>,
}

impl Keepalive {
    pub(crate) fn new(config: &TunnelConfig) -> Self {
        Self {
            interval: config.ping_interval,
            timeout: config.ping_timeout,
            timer: Box::pin(sleep(config.ping_timeout)),
            waiting: true,
            received: 0,
            first: Some(Instant::now()),
        }
    }

    /// A PING was answered. The first time, this yields how long that took.
    pub(crate) fn answered(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.waiting) {
            return None;
        }
        self.timer.as_mut().reset(Instant::now() + self.interval);
        let first = self.first.take()?;
        Some(Event::RoundTrip(first.elapsed()))
    }

    /// What is to be done now. `received` counts all bytes that ever arrived.
    pub(crate) fn poll(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let alive = std::mem::replace(&mut self.received, received) != received;
            if alive {
                self.timer.as_mut().reset(Instant::now() + self.interval);
                continue;
            }
            if std::mem::replace(&mut self.waiting, true) {
                return Poll::Ready(Event::Gone);
            }
            self.timer.as_mut().reset(Instant::now() + self.timeout);
            return Poll::Ready(Event::Ask);
        }
    }
}
