//! The labels of Istio's TCP metrics, in one place.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_xds::state::Service;

use super::party::Party;

/// Which side of a connection reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// How the bytes are kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    MutualTls,
    /// They never leave this process between the two pods.
    InProcess,
    /// In no way that we know of.
    Unknown,
}

impl Security {
    fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::InProcess => "in_process",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// What a connection is counted under. Equal where all values are.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    pub(crate) reporter: Reporter,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) security: Security,
    pub(crate) flags: &'static str,
}

/// Names of the labels, in the order of [`Labels::values`].
pub(crate) const LABELS: [&str; 27] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_region",
    "source_zone",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_region",
    "destination_zone",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

const UNKNOWN: &str = "unknown";

impl Labels {
    /// The values, `unknown` where there is none.
    pub(crate) fn values(&self) -> [&str; LABELS.len()] {
        let (source, destination) = (party(&self.source), party(&self.destination));
        let service = |name: fn(&Service) -> &str| {
            self.service.as_deref().map_or(UNKNOWN, |s| known(name(s)))
        };
        let [
            s_workload,
            s_service,
            s_revision,
            s_namespace,
            s_principal,
            s_cluster,
            s_region,
            s_zone,
        ] = source;
        let [
            d_workload,
            d_service,
            d_revision,
            d_namespace,
            d_principal,
            d_cluster,
            d_region,
            d_zone,
        ] = destination;
        [
            self.reporter.as_str(),
            s_workload,
            s_service,
            s_revision,
            s_namespace,
            s_principal,
            s_service,
            s_revision,
            s_cluster,
            s_region,
            s_zone,
            service(|service| &service.hostname),
            service(|service| &service.namespace),
            service(|service| &service.name),
            d_workload,
            d_service,
            d_revision,
            d_namespace,
            d_principal,
            d_service,
            d_revision,
            d_cluster,
            d_region,
            d_zone,
            "tcp",
            self.flags,
            self.security.as_str(),
        ]
    }

    /// The same, without what makes the number of sets grow.
    pub(super) fn without_names(self) -> Self {
        Self {
            source: Party::default(),
            destination: Party::default(),
            service: None,
            ..self
        }
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.values() == other.values()
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    /// Of what differs most: sets that are told apart by the rest alone are few.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for party in [&self.source, &self.destination] {
            party.workload().hash(state);
            party.namespace().hash(state);
            party.identity.as_ref().map(SpiffeId::as_str).hash(state);
        }
        self.flags.hash(state);
    }
}

fn party(party: &Party) -> [&str; 8] {
    [
        known(party.workload()),
        known(party.canonical_name()),
        known(party.canonical_revision()),
        known(party.namespace()),
        party.identity.as_ref().map_or(UNKNOWN, |id| id.as_str()),
        known(party.cluster()),
        known(party.region()),
        known(party.zone()),
    ]
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}
