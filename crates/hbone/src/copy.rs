//! The byte copy between an application's TCP connection and a stream of a tunnel.
//!
//! Invariants: bytes are read once into the memory that becomes the frame, and written from the memory that the frame
//! came in; the end of one direction closes only that direction; a reset of either side becomes a reset of the other, as
//! does dropping the copy, so that a truncated transfer never looks complete; an idle copy owns no buffer.

mod down;
mod up;

use crate::TunnelStream;
use culvert_runtime::copy::{Copying, Outcome, Progress, Watched};
use culvert_runtime::net::set_reset_on_close;
use down::Down;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use up::Up;

/// Copies until both directions have ended, one failed, or no byte moved for `idle` (up to twice as long). In the
/// outcome, `a` is the application and `b` the tunnel.
pub async fn bidirectional(
    app: TcpStream,
    tunnel: TunnelStream,
    idle: Option<Duration>,
) -> Outcome {
    watched(app, tunnel, idle, Arc::default(), std::future::pending()).await
}

/// As [`bidirectional`], showing its progress as it goes; what went ahead with the CONNECT counts. When `stop` ends first,
/// the copy fails with the error that it ended with, before it moves another byte.
pub fn watched<S>(
    app: TcpStream,
    tunnel: TunnelStream,
    idle: Option<Duration>,
    progress: Arc<Progress>,
    stop: S,
) -> impl Future<Output = Outcome> + use<S>
where
    S: Future<Output = io::Error> + Unpin,
{
    let copy = Copy {
        app,
        up: Up::after(tunnel.sent_ahead()),
        tunnel,
        down: Down::default(),
        idle: idle.map(Idle::new),
        progress,
        app_ended: false,
        ended: false,
    };
    Watched::new(copy, stop)
}

/// The state of one copy.
struct Copy {
    app: TcpStream,
    tunnel: TunnelStream,
    up: Up,
    down: Down,
    idle: Option<Idle>,
    progress: Arc<Progress>,
    /// The application has sent everything, and it is queued.
    app_ended: bool,
    ended: bool,
}

impl Future for Copy {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let down = this.down.poll(&mut this.app, &mut this.tunnel, cx);
        let up = this
            .up
            .poll(&mut this.app, &mut this.tunnel, this.down.ended(), cx);
        let (sent, received) = (this.up.copied(), this.down.copied());
        this.progress.set(sent, received);
        let (down, up) = (down?, up?);
        this.app_ended = up.is_ready();
        if down.is_ready() && up.is_ready() {
            return Poll::Ready(this.down.refusal());
        }
        match &mut this.idle {
            Some(idle) => idle.poll(sent + received, cx).map(Err),
            None => Poll::Pending,
        }
    }
}

impl Copying for Copy {
    fn copied(&self) -> (u64, u64) {
        (self.up.copied(), self.down.copied())
    }

    fn over(&mut self, in_order: bool) {
        self.ended = in_order;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if !self.app_ended {
            self.tunnel.reset();
        } // Else what the application sent goes out first; the stream's own drop then says that no more is wanted.
        if let Err(error) = set_reset_on_close(&self.app) {
            tracing::debug!(%error, "cannot reset a connection");
        }
    }
}

/// The idle deadline. A busy connection pays nothing for it: progress is looked at when the timer fires.
struct Idle {
    limit: Duration,
    seen: u64,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            seen: 0,
            timer: Box::pin(sleep(limit)),
        }
    }

    fn poll(&mut self, moved: u64, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if std::mem::replace(&mut self.seen, moved) == moved {
                let text = format!("idle for {:?}", self.limit);
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        Poll::Pending
    }
}
