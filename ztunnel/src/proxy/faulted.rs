//! The copy of a connection that a fault struck. Slower than the usual ones, which know nothing of faults.
//!
//! Invariants: no byte passes a blackhole; a direction is never faster than its throttle; after the byte that a reset
//! waits for none follows; when the policy lets go, the connection goes on as any other, but for one whose application
//! was never dialled, which is reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use culvert_hbone::TunnelStream;
use culvert_policy::DenyReason;
use culvert_runtime::copy::{Copying, Outcome, Progress, Watched};
use culvert_runtime::{net, scratch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::denial::Denial;
use crate::faults::{Shape, Strike};

mod bucket;
mod flow;

use flow::Flow;

/// An application behind a fault.
#[derive(Debug)]
pub(crate) struct Faulted {
    /// None where it is not to know of the connection.
    pub(crate) app: Option<TcpStream>,
    pub(crate) strike: Strike,
}

/// Either end of a connection.
pub(super) trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Its close is to be an error to whoever is there.
    fn reset(&mut self);
}

impl Side for TcpStream {
    fn reset(&mut self) {
        // It may be gone already; then there is nobody to tell.
        drop(net::set_reset_on_close(&*self));
    }
}

impl Side for TunnelStream {
    fn reset(&mut self) {
        TunnelStream::reset(self);
    }
}

/// Copy between a client and an application, as far as what struck lets bytes through. In the outcome, `a` is the client.
pub(super) fn watched<C: Side>(
    client: C,
    faulted: Faulted,
    progress: Arc<Progress>,
    stop: impl Future<Output = io::Error> + Unpin,
) -> impl Future<Output = Outcome> {
    let Faulted { app, strike } = faulted;
    let shape = strike.shape();
    let copy = Copy {
        client,
        app,
        forth: Flow::new(shape.throttle),
        back: Flow::new(shape.throttle),
        shape,
        lapse: Some(Box::pin(strike.lapse())),
        progress,
    };
    Watched::new(copy, stop)
}

/// The state of one copy.
struct Copy<C> {
    client: C,
    app: Option<TcpStream>,
    /// From the client.
    forth: Flow,
    back: Flow,
    shape: Shape,
    /// Tells when a part of what struck is over; none when all of it is.
    lapse: Option<Pin<Box<dyn Future<Output = Strike>>>>,
    progress: Arc<Progress>,
}

impl<C: Side> Copy<C> {
    /// What is over holds nothing any more.
    fn let_go(&mut self, cx: &mut Context<'_>) {
        while let Some(lapse) = &mut self.lapse {
            let Poll::Ready(strike) = lapse.as_mut().poll(cx) else {
                return;
            };
            self.shape = Shape {
                // Kept for the reset of what it never let through.
                policy: self.shape.policy.take(),
                ..strike.shape()
            };
            self.forth.throttle(self.shape.throttle);
            self.back.throttle(self.shape.throttle);
            self.lapse = match strike.shapes() {
                true => Some(Box::pin(strike.lapse())),
                false => None,
            };
        }
    }

    fn injected(&self) -> io::Error {
        io::Error::other(Denial {
            policy: self.shape.policy.clone(),
            ..DenyReason::FaultInjected.into()
        })
    }

    /// What comes is lost. A client that ends has given up, or waits for an answer that never comes: in either case its
    /// place is not held for it.
    fn swallow(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let read = scratch::with(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let read = Pin::new(&mut self.client).poll_read(cx, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
            });
            match ready!(read) {
                Ok(0) => return Poll::Ready(self.injected()),
                Ok(_lost) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
    }
}

impl<C: Side> Future for Copy<C> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.let_go(cx);
        if this.shape.blackhole {
            return this.swallow(cx).map(Err);
        }
        let Some(app) = &mut this.app else {
            return Poll::Ready(Err(this.injected()));
        };
        let moved = this.forth.copied() + this.back.copied();
        let mut room = this
            .shape
            .reset_after
            .map_or(u64::MAX, |bytes| bytes.saturating_sub(moved));
        let forth = this.forth.poll(&mut this.client, app, &mut room, cx);
        let back = this.back.poll(app, &mut this.client, &mut room, cx);
        this.progress.set(this.forth.copied(), this.back.copied());
        if room == 0 {
            return Poll::Ready(Err(this.injected()));
        }
        let (forth, back) = (forth?, back?);
        if forth.is_ready() && back.is_ready() {
            let refusal = this.forth.take_refusal();
            return Poll::Ready(
                refusal
                    .or_else(|| this.back.take_refusal())
                    .map_or(Ok(()), Err),
            );
        }
        Poll::Pending
    }
}

impl<C: Side> Copying for Copy<C> {
    fn copied(&self) -> (u64, u64) {
        (self.forth.copied(), self.back.copied())
    }

    fn over(&mut self, in_order: bool) {
        if !in_order {
            self.client.reset();
            if let Some(app) = &mut self.app {
                app.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests;
