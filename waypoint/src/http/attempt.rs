//! try: one endpoint, one connection, one request, up to the response's headers.
//!
//! Invariant: a request is sent again without anybody's wish only where it is certain that it was not sent.

use std::sync::Arc;
use std::time::Duration;

use culvert_policy::DenyReason;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::headers;
use super::outbound::Outbound;
use super::refusal::Refusal;
use crate::config::retry::Outcome;
use crate::permit::Permit;
use crate::upstream::connect::Dialer;
use crate::upstream::endpoint::InFlight;
use crate::upstream::limit::ConnectionLimit;
use crate::upstream::member::Sample;
use crate::upstream::pool::{Connections, Lease, SendError};

/// Connections that turn out to have ended, one after the other, before a try fails.
const STALE: usize = 64;

/// An endpoint's response, and what is held until its body has ended.
#[derive(Debug)]
pub(super) struct Answer {
    /// The response.
    pub response: Response<Incoming>,
    /// The connection.
    pub lease: Lease,
    /// Leave to use it.
    pub permit: Permit,
    /// The endpoint's load.
    pub in_flight: InFlight,
    /// When the try began.
    pub start: Instant,
}

impl Answer {
    /// Whether the endpoint has changed the protocol.
    pub(super) fn switches(&self) -> bool {
        self.response.status() == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// How a try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection.
    Connect(DenyReason),
    /// The connection ended before a response.
    Reset,
    /// No response in time.
    Timeout,
    /// Not the endpoint's fault: no other try can help.
    Final(Refusal),
}

impl Failure {
    /// The same for a retry policy; none if no try can help.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Connect(_) => Some(Outcome::ConnectFailure),
            Self::Reset => Some(Outcome::Reset),
            Self::Timeout => Some(Outcome::PerTryTimeout),
            Self::Final(_) => None,
        }
    }
}

/// How long a try may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// By itself.
    pub one: Option<Duration>,
    /// With all others.
    pub all: Option<Instant>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect(reason) => Self::Connect(reason),
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
            Failure::Final(refusal) => refusal,
        }
    }
}

/// Sends the request to the permit's endpoint and waits for the response's headers.
pub(super) async fn attempt(
    dialer: &Dialer,
    permit: Permit,
    outbound: &mut Outbound,
    limits: Limits,
    connections: Option<&Arc<ConnectionLimit>>,
) -> Result<Answer, Failure> {
    let start = Instant::now();
    let in_flight = permit.endpoint().enter();
    let limited = limited(
        start,
        limits,
        exchange(dialer, &permit, outbound, connections),
    );
    let result = tokio::select! {
        biased;
        () = permit.revoked() => return Err(Failure::Final(Refusal::Denied(DenyReason::PolicyDeny.into()))),
        done = limited => done,
    };
    let (response, lease) = match result {
        Ok(answered) => answered,
        Err(failure) => {
            if blames(&failure, outbound) {
                in_flight.observe(Sample::GatewayError);
            }
            return Err(failure);
        }
    };
    in_flight.answered();
    match sample(&response) {
        Some(sample) => in_flight.observe(sample),
        None => in_flight.leave_open(),
    }
    Ok(Answer {
        response,
        lease,
        permit,
        in_flight,
        start,
    })
}

/// The exchange, if it ends in time: a try that is late may be repeated, where there is time left for all.
async fn limited<T>(
    start: Instant,
    limits: Limits,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let one = limits.one.map(|limit| start + limit);
    let Some(until) = [one, limits.all].into_iter().flatten().min() else {
        return exchange.await;
    };
    let late = |_| match limits.all {
        Some(all) if all <= until => Err(Failure::Final(Refusal::Timeout)),
        _ => Err(Failure::Timeout),
    };
    tokio::time::timeout_at(until, exchange)
        .await
        .unwrap_or_else(late)
}

/// Whether the endpoint is to blame, and not this waypoint or the client, whose body may not have come.
fn blames(failure: &Failure, outbound: &Outbound) -> bool {
    let sent = || outbound.is_bodiless() || outbound.progress.done.get();
    match failure {
        Failure::Connect(reason) => is_endpoints(*reason),
        Failure::Reset => true,
        Failure::Timeout | Failure::Final(Refusal::Timeout) => sent(),
        Failure::Final(_) => false,
    }
}

/// Whether no connection for this reason is the endpoint's failure.
pub(crate) fn is_endpoints(reason: DenyReason) -> bool {
    use DenyReason::{BackendUnresolved, CertificateUnavailable, Draining, Overload};
    !matches!(
        reason,
        BackendUnresolved | CertificateUnavailable | Draining | Overload
    )
}

/// What a response says of its endpoint; none if its trailers will tell.
fn sample<B>(response: &Response<B>) -> Option<Sample> {
    let headers = response.headers();
    if !headers::is_grpc(headers) || response.status() != StatusCode::OK {
        return Some(Sample::of_status(response.status().as_u16()));
    }
    headers::grpc_status(headers).map(Sample::of_grpc)
}

async fn exchange(
    dialer: &Dialer,
    permit: &Permit,
    outbound: &mut Outbound,
    limit: Option<&Arc<ConnectionLimit>>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let endpoint = permit.endpoint();
    let version = outbound.version_for(endpoint);
    let lease = async || {
        let lease = Connections::lease(endpoint, version, dialer, limit).await;
        lease.map_err(|reason| match reason {
            DenyReason::Overload => Failure::Final(Refusal::Overload),
            // No other try can help.
            DenyReason::BackendUnresolved => {
                let message = "the BackendTLSPolicy of the backend cannot be followed";
                Failure::Final(Refusal::Unresolved(message.to_owned()))
            }
            reason => Failure::Connect(reason),
        })
    };
    let mut connection = lease().await?;
    let body = outbound.take_body().ok_or(Failure::Reset)?;
    let request = outbound.request(version, endpoint, body);
    let mut request = request.map_err(Failure::Final)?;
    for _ in 0..STALE {
        match connection.send(request).await {
            Ok(response) => return Ok((response, connection)),
            // The connection ended while it was idle, before anything of this request was written.
            Err(SendError::NotSent(back)) if connection.is_reused() => {
                request = *back;
                connection = lease().await?;
            }
            Err(SendError::NotSent(_) | SendError::NotProcessed) => {
                return Err(Failure::Connect(DenyReason::ConnectFailed));
            }
            Err(SendError::Lost(error)) => {
                tracing::debug!(%error, endpoint = %endpoint.uid(), "no response");
                let progress = &outbound.progress;
                return Err(match (progress.failed.get(), progress.silent.get()) {
                    (_, true) => Failure::Final(Refusal::ClientSilent),
                    (true, false) => Failure::Final(Refusal::ClientBody),
                    (false, false) => Failure::Reset,
                });
            }
        }
    }
    Err(Failure::Connect(DenyReason::ConnectFailed))
}
