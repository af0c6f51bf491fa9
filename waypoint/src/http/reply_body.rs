//! Bodies of responses, and all that ends with them: the request's account, the endpoint's load, the connection, the
//! permit, the deadline.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::attempt::Answer;
use super::body::Progress;
use super::headers;
use super::outbound::Outbound;
use super::refusal::Refusal;
use crate::permit::Permit;
use crate::telemetry::Record;
use crate::upstream::budget::Admission;
use crate::upstream::endpoint::InFlight;
use crate::upstream::member::Sample;
use crate::upstream::pool::Lease;

/// Why a response ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplyError {
    /// The backend's connection broke.
    #[error("the backend's response ended early")]
    Backend,
    /// The time is up.
    #[error("the response took too long")]
    Timeout,
    /// Policy changed.
    #[error("the client's permit was revoked")]
    Revoked,
}

/// A response's body.
#[derive(Debug)]
pub(super) struct ReplyBody(Kind);

#[derive(Debug)]
enum Kind {
    Own(Option<Bytes>),
    Backend(Box<BackendBody>),
}

/// A place among a service's requests at once, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Admission>>);

impl Place {
    /// Takes a place, if there is a bound; an error if all are taken.
    pub(super) fn take(admission: Option<&Arc<Admission>>) -> Result<Self, Refusal> {
        match admission {
            Some(admission) if !admission.enter() => Err(Refusal::Overload),
            other => Ok(Self(other.cloned())),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(admission) = &self.0 {
            admission.leave();
        }
    }
}

/// A backend's answer, before its account is joined to it.
#[derive(Debug)]
pub(super) struct Held {
    answer: Answer,
    progress: Rc<Progress>,
    bodiless: bool,
    deadline: Option<Instant>,
    place: Place,
}

/// What a backend's response holds until its end.
#[derive(Debug)]
struct BackendBody {
    source: Incoming,
    lease: Option<Lease>,
    permit: Permit,
    progress: Rc<Progress>,
    /// There was no request body to wait for.
    bodiless: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    record: Record,
    in_flight: InFlight,
    _place: Place,
}

impl ReplyBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self(Kind::Own(None))
    }

    /// A body of our own.
    pub(super) fn full(bytes: Bytes) -> Self {
        Self(Kind::Own(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

impl Held {
    /// Holds `answer` to the request `outbound`, which must have ended by `deadline`.
    pub(super) fn new(
        answer: Answer,
        outbound: &Outbound,
        deadline: Option<Instant>,
        place: Place,
    ) -> Self {
        let progress = Rc::clone(&outbound.progress);
        Self {
            answer,
            progress,
            bodiless: outbound.is_bodiless(),
            deadline,
            place,
        }
    }

    /// The answer's body, with which the account ends.
    pub(super) fn into_body(self, record: Record) -> ReplyBody {
        let answer = self.answer;
        ReplyBody(Kind::Backend(Box::new(BackendBody {
            source: answer.response.into_body(),
            lease: Some(answer.lease),
            permit: answer.permit,
            progress: self.progress,
            bodiless: self.bodiless,
            deadline: self.deadline.map(|at| Box::pin(sleep_until(at))),
            record,
            in_flight: answer.in_flight,
            _place: self.place,
        })))
    }
}

impl BackendBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if self.permit.poll_revoked(cx).is_ready() {
            return self.fail("DENY", ReplyError::Revoked);
        }
        match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.passed(frame)))),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, endpoint = %self.permit.endpoint().uid(), "response body");
                self.in_flight.ended(Sample::GatewayError);
                self.fail("UC", ReplyError::Backend)
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = self
                    .deadline
                    .as_mut()
                    .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
                if late {
                    self.fail("UT", ReplyError::Timeout)
                } else {
                    Poll::Pending
                }
            }
        }
    }

    fn passed(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(data) = frame.data_ref() {
            self.record.sent += data.len() as u64;
        }
        match frame.into_trailers() {
            Err(data) => data,
            Ok(mut trailers) => {
                headers::strip_trailers(&mut trailers);
                if let Some(status) = headers::grpc_status(&trailers) {
                    self.in_flight.ended(Sample::of_grpc(status));
                    self.record.grpc = Some(status);
                }
                Frame::trailers(trailers)
            }
        }
    }

    fn fail(
        &mut self,
        flags: &'static str,
        error: ReplyError,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        self.record.flags = flags;
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }

    /// The response has ended: the connection may serve another request if the request has, too.
    fn finish(&mut self) {
        if let Some(lease) = self
            .lease
            .take()
            .filter(|_| self.bodiless || self.progress.done.get())
        {
            lease.keep(self.permit.endpoint());
        }
    }
}

impl Drop for BackendBody {
    fn drop(&mut self) {
        self.record.received = self.progress.bytes.get();
        if self.source.is_end_stream() {
            self.finish();
        } else if self.lease.is_some() && self.record.flags == "-" {
            // Dropped with the end still to come: the client went away.
            self.record.flags = "DC";
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match &mut self.get_mut().0 {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Backend(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Backend(body) => body.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Backend(body) => body.source.size_hint(),
        }
    }
}
