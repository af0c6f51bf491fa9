//! The transport: one stream of delta ADS after another, for as long as the process wants configuration.
//!
//! Invariant: a lost stream changes nothing of what is held; the next one says what is held and gets the difference.

use std::time::Duration;

use bytes::Bytes;
use culvert_identity::controller::Controller;
use culvert_proto::ads::{self, DeltaDiscoveryRequest};
use culvert_proto::type_url;
use culvert_runtime::drain::Drain;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::demand::Demand;
use crate::handler::Handler;
use crate::metrics;
use crate::protocol::{Machine, ProtocolError};
use crate::stream;

/// The largest response that is taken.
pub const MAX_RESPONSE_BYTES: usize = 128 << 20;

/// Answers that the server has not read yet. A server that leaves more unread does not follow the protocol.
const MAX_UNREAD_REQUESTS: usize = 256;

/// What nobody used for so long is given back.
const IDLE: Duration = Duration::from_secs(600);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// After its first addresses a client that begins with what it needs goes on to all of them. So long its pods, which all
/// begin again together with it, are not kept waiting by what they do not need.
const BEGINNING: Duration = Duration::from_secs(3);

/// A delta ADS client.
pub struct Client<H> {
    controller: Controller,
    machine: Machine,
    handler: H,
    /// When to take all addresses, after the first ones that were asked for.
    grows: Option<Duration>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("cannot open a stream: {0}")]
    Connect(#[source] Box<tonic::Status>),
    #[error("the stream failed: {0}")]
    Stream(#[source] Box<tonic::Status>),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the server does not read what it is answered")]
    Stalled,
    #[error("the server ended the stream")]
    ByServer,
    #[error("all addresses are wanted from now on")]
    Grown,
}

impl Ended {
    /// Istio's name for it.
    fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "ConnectionError",
            Self::Stream(_) | Self::Protocol(_) | Self::Stalled => "Error",
            Self::ByServer | Self::Grown => "Reconnect",
        }
    }
}

impl<H: Handler> Client<H> {
    /// A client that subscribes to all resources of these types and gives them to the handler.
    #[must_use]
    pub fn new(
        controller: Controller,
        node: ads::Node,
        types: &[&'static str],
        handler: H,
    ) -> Self {
        Self {
            controller,
            machine: Machine::new(node, types),
            handler,
            grows: None,
        }
    }

    /// The same client, which takes of the addresses only those that are asked for.
    #[must_use]
    pub fn on_demand(mut self, demand: Option<Demand>) -> Self {
        if let Some(demand) = demand {
            self.machine = self.machine.on_demand(demand);
        }
        self
    }

    /// The same client, which begins with the addresses that are asked for and then takes all of them, on a stream of its
    /// own, whose first response is known to have all.
    #[must_use]
    pub fn beginning_with(mut self, demand: Demand) -> Self {
        self.grows = Some(BEGINNING);
        self.on_demand(Some(demand))
    }

    /// Keeps a stream open until the drain starts. Give it the drain that ends the process's need of configuration,
    /// which established connections have until their end.
    pub async fn run(mut self, drain: Drain) {
        let mut backoff = Backoff::new();
        loop {
            let started = Instant::now();
            let ended = tokio::select! {
                biased;
                () = drain.signaled() => break,
                ended = self.stream() => ended,
            };
            metrics::TERMINATIONS
                .with_label_values(&[ended.reason()])
                .inc();
            let wait = backoff.after(started.elapsed(), rand::random());
            log_end(&ended, wait);
            tokio::select! {
                biased;
                () = drain.signaled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        metrics::TERMINATIONS.with_label_values(&["Complete"]).inc();
    }

    async fn stream(&mut self) -> Ended {
        match self.exchange().await {
            Ok(()) => Ended::ByServer,
            Err(ended) => ended,
        }
    }

    async fn exchange(&mut self) -> Result<(), Ended> {
        let first = self.machine.connect();
        let (requests, unread) = mpsc::channel(MAX_UNREAD_REQUESTS);
        for request in first {
            send(&requests, request)?;
        }
        let connect = |status| Ended::Connect(Box::new(status));
        let mut responses = stream::open(&self.controller, unread)
            .await
            .map_err(connect)?;
        tracing::debug!("xDS stream opened");
        let demand = self.machine.demand().cloned();
        let mut sweep = tokio::time::interval(SWEEP);
        let mut grow = None;
        loop {
            let request = tokio::select! {
                response = responses.message() => {
                    match response.map_err(|status| Ended::Stream(Box::new(status)))? {
                        Some(response) => {
                            let answer = self.receive(response)?;
                            if grow.is_none() && answer.type_url == type_url::ADDRESS {
                                grow = self.grow_at();
                            }
                            Some(answer)
                        }
                        None => return Ok(()),
                    }
                }
                () = until(grow) => {
                    self.machine.grow();
                    return Err(Ended::Grown);
                }
                () = news(demand.as_ref()) => self.machine.ask(),
                _ = sweep.tick(), if demand.is_some() => self.machine.give_back(IDLE),
            };
            if let Some(request) = request {
                send(&requests, request)?;
            }
        }
    }

    /// When to go on to all addresses, if that is still to be done, and the first ones are there.
    fn grow_at(&self) -> Option<Instant> {
        let grows = self.grows.filter(|_| !self.machine.is_grown())?;
        Some(Instant::now() + grows)
    }

    fn receive(&mut self, response: Bytes) -> Result<DeltaDiscoveryRequest, ProtocolError> {
        let bytes = response.len() as u64;
        let reply = self.machine.receive(response, &mut self.handler)?;
        let url = [self.machine.label(&reply.request.type_url)];
        metrics::MESSAGES.with_label_values(&url).inc();
        metrics::MESSAGE_BYTES.with_label_values(&url).inc_by(bytes);
        metrics::REJECTED
            .with_label_values(&url)
            .inc_by(reply.rejected.len() as u64);
        for rejected in &reply.rejected {
            tracing::warn!(url = url[0], name = %rejected.name, error = %rejected.error, "resource rejected");
        }
        Ok(reply.request)
    }
}

impl<H> std::fmt::Debug for Client<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Waits for ever where nothing is asked for.
async fn news(demand: Option<&Demand>) {
    match demand {
        Some(demand) => demand.news().await,
        None => std::future::pending().await,
    }
}

/// Waits for this moment, for ever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Never waits: a server that neither reads nor stops writing would otherwise stall both sides.
fn send(
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), Ended> {
    match requests.try_send(request) {
        Ok(()) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => Err(Ended::Stalled),
        // The transport has let go of the requests; what it has to say of that comes with the responses.
        Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
    }
}

fn log_end(ended: &Ended, wait: Duration) {
    match ended {
        Ended::ByServer | Ended::Grown => tracing::debug!(?wait, "xDS: {ended}"),
        _ => tracing::warn!(?wait, "xDS: {ended}"),
    }
}
