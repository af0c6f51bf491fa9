//! What is known of one connection, and the one line that the access log gets of it.
//!
//! Invariants: identities are those that were proved, or our own; a line names its refusal by a `DenyReason`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_xds::state::{Service, Settings};

use super::labels::{Labels, Reporter, Security};
use super::party::Party;
use crate::proxy::denial::Denial;

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Outbound,
    Inbound,
}

impl Direction {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// One connection. Filled in as more becomes known.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) direction: Direction,
    /// The client.
    pub(crate) source_addr: SocketAddr,
    /// Where the client wanted to go; after routing, where it goes.
    pub(crate) destination_addr: SocketAddr,
    /// The other end of the tunnel, if there is one.
    pub(crate) hbone_addr: Option<SocketAddr>,
    /// Both pods are this node's, and the bytes stay in this process.
    pub(crate) within: bool,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    /// What the client asked for.
    pub(crate) service: Option<Arc<Service>>,
    /// The faults that struck it, with their policies.
    pub(crate) fault: Option<Arc<str>>,
}

impl Facts {
    /// All that is known when a connection was just accepted.
    pub(crate) fn new(
        direction: Direction,
        source_addr: SocketAddr,
        destination_addr: SocketAddr,
    ) -> Self {
        Self {
            direction,
            source_addr,
            destination_addr,
            hbone_addr: None,
            within: false,
            source: Party::default(),
            destination: Party::default(),
            service: None,
            fault: None,
        }
    }

    /// What it is counted under, `denial` being why it was refused or cut.
    pub(super) fn labels(&self, denial: Option<&Denial>) -> Labels {
        Labels {
            reporter: match self.direction {
                Direction::Outbound => Reporter::Source,
                Direction::Inbound => Reporter::Destination,
            },
            source: self.source.clone(),
            destination: self.destination.clone(),
            service: self.service.clone(),
            security: match (self.hbone_addr, self.within) {
                (Some(_), _) => Security::MutualTls,
                (None, true) => Security::InProcess,
                (None, false) => Security::Unknown,
            },
            flags: denial.map_or("-", |denial| denial.reason.response_flag()),
        }
    }

    /// Whether its way within the node, if it takes that, is still allowed.
    pub(crate) fn may_stay(&self, settings: &Settings) -> bool {
        !self.within || settings.in_process(self.source.namespace(), self.destination.namespace())
    }

    /// The line at the end of a connection. `to_server` and `to_client` are bytes.
    pub(super) fn log(&self, end: &End<'_>) {
        let (sent, received) = match self.direction {
            Direction::Outbound => (end.to_server, end.to_client),
            Direction::Inbound => (end.to_client, end.to_server),
        };
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    target: "access",
                    { src.addr = %self.source_addr,
                    src.workload = some(self.source.pod()),
                    src.namespace = some(self.source.namespace()),
                    src.identity = self.source.identity.as_ref().map(|id| id.as_str()),
                    src.cluster = some(self.source.cluster()),
                    dst.addr = %self.destination_addr,
                    dst.hbone_addr = self.hbone_addr.map(tracing::field::display),
                    in_process = self.within.then_some(true),
                    dst.service = self.service.as_ref().map(|service| &*service.hostname),
                    dst.workload = some(self.destination.pod()),
                    dst.namespace = some(self.destination.namespace()),
                    dst.identity = self.destination.identity.as_ref().map(|id| id.as_str()),
                    dst.cluster = some(self.destination.cluster()),
                    direction = self.direction.as_str(),
                    bytes_sent = sent,
                    bytes_recv = received,
                    duration = %format_args!("{}ms", end.duration.as_millis()),
                    fault = self.fault.as_deref(),
                    deny_reason = end.denial.map(|denial| denial.reason.as_str()),
                    policy = end.denial.and_then(|denial| denial.policy.as_deref()),
                    error = end.error.map(tracing::field::display) },
                    $text
                )
            };
        }
        match (end.established, end.error) {
            (true, None) => line!(info, "connection complete"),
            (true, Some(_)) => line!(error, "connection complete"),
            (false, _) => line!(warn, "connection failed"),
        }
    }

    /// The line at its start, for who looks closely.
    pub(super) fn log_opened(&self) {
        tracing::debug!(
            target: "access",
            { src.addr = %self.source_addr, dst.addr = %self.destination_addr, direction = self.direction.as_str() },
            "connection opened"
        );
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) established: bool,
    pub(super) to_server: u64,
    pub(super) to_client: u64,
    pub(super) duration: Duration,
    pub(super) denial: Option<&'a Denial>,
    pub(super) error: Option<&'a dyn std::error::Error>,
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
