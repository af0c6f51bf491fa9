//! The labels of Istio's TCP metrics, in one place.

use std::sync::Arc;

use super::party::{Party, ServiceName};

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

/// What a connection is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) reporter: Reporter,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) service: ServiceName,
    pub(crate) mutual_tls: bool,
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
            known(&self.service.hostname),
            known(&self.service.namespace),
            known(&self.service.name),
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
            if self.mutual_tls {
                "mutual_tls"
            } else {
                UNKNOWN
            },
        ]
    }

    /// The same, without what makes the number of sets grow.
    pub(super) fn without_names(self) -> Self {
        let nobody = || Party {
            workload: UNKNOWN.into(),
            ..Party::default()
        };
        Self {
            source: nobody(),
            destination: nobody(),
            service: ServiceName::default(),
            ..self
        }
    }
}

fn party(party: &Party) -> [&str; 8] {
    [
        known(&party.workload),
        known(&party.canonical_name),
        known(&party.canonical_revision),
        known(&party.namespace),
        party.identity.as_ref().map_or(UNKNOWN, |id| id.as_str()),
        known(&party.cluster),
        known(&party.region),
        known(&party.zone),
    ]
}

fn known(text: &Arc<str>) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}
