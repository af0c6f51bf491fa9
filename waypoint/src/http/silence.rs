//! A request's body as it comes from the client, which has to go on coming.
//!
//! Invariant: only what the client owes counts. While nobody reads, because the backend takes nothing, no time runs.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

/// A body, and how long its client may be silent.
#[derive(Debug)]
pub struct FromClient {
    body: Incoming,
    silence: Option<Silence>,
}

#[derive(Debug)]
struct Silence {
    longest: Duration,
    /// Made when the client is waited for, for the first time.
    end: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// What was read.
pub(super) enum Read {
    /// A frame, or why there is none.
    Frame(Option<Result<Frame<Bytes>, hyper::Error>>),
    /// The client was silent for too long.
    Silent,
}

impl FromClient {
    /// Of a client that may be silent for so long, or for ever.
    pub fn new(body: Incoming, longest: Option<Duration>) -> Self {
        let silence = longest.map(|longest| Silence {
            longest,
            end: None,
            waiting: false,
        });
        Self { body, silence }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Some(silence) = &mut self.silence else {
            return polled.map(Read::Frame);
        };
        match polled {
            Poll::Ready(frame) => {
                silence.waiting = false;
                Poll::Ready(Read::Frame(frame))
            }
            Poll::Pending => silence.poll(cx),
        }
    }

    /// Whether all of it was read.
    pub fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// What is still to come.
    pub fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Silence {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let longest = self.longest;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(longest)));
        if !std::mem::replace(&mut self.waiting, true) {
            end.as_mut().reset(Instant::now() + longest);
        }
        end.as_mut().poll(cx).map(|()| Read::Silent)
    }
}
