//! A server's connection: streams out, deadlines, idleness, age, drain.
//!
//! Invariant: a client that says nothing, asks for nothing or stops asking is not waited for for ever.

use super::{Incoming, Peer};
use crate::config::TunnelConfig;
use crate::driver::Driver;
use crate::engine::Connection;
use crate::error::ServerError;
use crate::io::Transport;
use crate::stream::StreamHandle;
use culvert_runtime::drain::Drain;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Serving<'a, T> {
    driver: Driver<T>,
    peer: Peer,
    idle: Idle,
    draining: Pin<Box<dyn Future<Output = ()> + 'a>>,
    closing: bool,
}

impl<'a, T: Transport> Serving<'a, T> {
    /// `deadline` is that of the client's first bytes.
    pub(super) fn new(
        driver: Driver<T>,
        peer: Peer,
        deadline: Instant,
        config: &TunnelConfig,
        drain: &'a Drain,
    ) -> Self {
        Self {
            driver,
            peer,
            idle: Idle::new(config, deadline),
            draining: Box::pin(drain.signaled()),
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
        let shared = self.driver.shared().clone();
        let (peer, idle) = (&self.peer, &mut self.idle);
        let result = self.driver.poll(cx, &mut |id, head| {
            idle.asked = true;
            let handle = StreamHandle::new(shared.clone(), id);
            if let Some(incoming) = Incoming::new(handle, &head, peer) {
                on(incoming);
            }
        });
        if let Poll::Ready(end) = result {
            return Poll::Ready(end.map_err(ServerError::from));
        }
        if !self.closing {
            let (began, streams) = shared.drive(|c| (c.began(), c.open_streams() > 0));
            if let Poll::Ready(late) = self.idle.poll(began, streams, cx) {
                if let Some(late) = late {
                    return Poll::Ready(Err(ServerError::Timeout(late)));
                }
                self.close();
                // To be polled again, which sends the GOAWAY.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    /// GOAWAY; open streams finish, and those that the client opened before it knew.
    fn close(&mut self) {
        self.closing = true;
        self.driver.shared().drive(Connection::drain);
    }
}

/// When a connection without streams, or one that is old, is closed.
struct Idle {
    /// The client's first bytes were HTTP/2.
    began: bool,
    /// It asked for a stream.
    asked: bool,
    first: Duration,
    /// When the first CONNECT is late.
    late: Instant,
    limit: Duration,
    old: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    since: Option<Instant>,
}

impl Idle {
    fn new(config: &TunnelConfig, deadline: Instant) -> Self {
        Self {
            began: false,
            asked: false,
            first: config.connect,
            late: deadline,
            limit: config.idle * 2,
            old: TunnelConfig::old(config.server_age),
            timer: Box::pin(sleep_until(deadline)),
            since: None,
        }
    }

    /// Ready with what the client was too slow for, or with nothing when the connection has been without streams for long
    /// enough or is old. The timer is touched when it fires only.
    fn poll(
        &mut self,
        began: bool,
        streams: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<&'static str>> {
        if began && !std::mem::replace(&mut self.began, true) {
            self.late = Instant::now() + self.first;
            let at = self.sooner(self.late);
            self.timer.as_mut().reset(at);
        }
        if streams {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if !self.began {
                return Poll::Ready(Some("no HTTP/2 preface"));
            }
            let now = Instant::now();
            if !self.asked {
                if self.late <= now {
                    return Poll::Ready(Some("no CONNECT"));
                }
                self.timer.as_mut().reset(self.late);
                continue;
            }
            let until = self.since.unwrap_or(now) + self.limit;
            if until <= now || self.old.is_some_and(|old| old <= now) {
                return Poll::Ready(None);
            }
            let at = self.sooner(until);
            self.timer.as_mut().reset(at);
        }
        Poll::Pending
    }

    /// `at`, or when the connection is old.
    fn sooner(&self, at: Instant) -> Instant {
        self.old.map_or(at, |old| old.min(at))
    }
}
