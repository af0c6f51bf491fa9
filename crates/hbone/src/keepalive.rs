//! Liveness of a tunnel: a PING where nothing arrives, and the end where nothing answers.
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
    /// The peer is gone.
    Gone,
}

/// The state of one tunnel.
pub(crate) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    received: u64,
}

impl Keepalive {
    pub(crate) fn new(config: &TunnelConfig) -> Self {
        Self {
            interval: config.ping_interval,
            timeout: config.ping_timeout,
            timer: Box::pin(sleep(config.ping_interval)),
            waiting: false,
            received: 0,
        }
    }

    /// A PING was answered.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.timer.as_mut().reset(Instant::now() + self.interval);
        }
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
