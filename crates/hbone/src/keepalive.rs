//! Liveness of a tunnel: a PING where nothing arrives, and the end where nothing answers.
//!
//! Invariant: a peer from which nothing arrives for interval plus timeout is given up; one that sends anything is alive.

use crate::config::TunnelConfig;
use h2::{Ping, PingPong};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

pub(crate) struct Keepalive {
    pings: Option<PingPong>,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    received: u64,
}

impl Keepalive {
    pub(crate) fn new(pings: Option<PingPong>, config: &TunnelConfig) -> Self {
        Self {
            pings,
            interval: config.ping_interval,
            timeout: config.ping_timeout,
            timer: Box::pin(sleep(config.ping_interval)),
            waiting: false,
            received: 0,
        }
    }

    /// Ready when the peer is gone. `received` counts all bytes that ever arrived.
    pub(crate) fn poll(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        if self.waiting && pings.poll_pong(cx).is_ready() {
            self.waiting = false;
            self.timer.as_mut().reset(Instant::now() + self.interval);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let alive = std::mem::replace(&mut self.received, received) != received;
            if self.waiting && !alive {
                return Poll::Ready(());
            }
            let wait = if alive || self.waiting {
                self.interval
            } else {
                // Fails only where the connection is closing anyway.
                self.waiting = pings.send_ping(Ping::opaque()).is_ok();
                if self.waiting && pings.poll_pong(cx).is_ready() {
                    self.waiting = false;
                }
                self.timeout
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        Poll::Pending
    }
}
