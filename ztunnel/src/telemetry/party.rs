//! Who took part in a connection, as metrics and logs name it.

use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_xds::state::{Service, Workload};

/// One end of a connection. Empty texts where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    /// The pod's name, for logs.
    pub(crate) pod: Arc<str>,
    /// The name of what runs it, for example of a Deployment.
    pub(crate) workload: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) canonical_name: Arc<str>,
    pub(crate) canonical_revision: Arc<str>,
    pub(crate) cluster: Arc<str>,
    pub(crate) region: Arc<str>,
    pub(crate) zone: Arc<str>,
    /// Proved by mutual TLS, or our own; never taken from a header.
    pub(crate) identity: Option<SpiffeId>,
}

impl Party {
    /// A workload, without an identity: what is configured proves nothing.
    pub(crate) fn of(workload: &Workload) -> Self {
        Self {
            pod: workload.name().into(),
            workload: workload.workload_name().clone(),
            namespace: workload.namespace().clone(),
            canonical_name: workload.canonical_name().clone(),
            canonical_revision: workload.canonical_revision().clone(),
            cluster: workload.cluster_id().clone(),
            region: workload.locality().region.clone(),
            zone: workload.locality().zone.clone(),
            identity: None,
        }
    }

    /// Somebody of whom only the identity is known, if that.
    pub(crate) fn anonymous(identity: Option<&SpiffeId>) -> Self {
        Self {
            namespace: identity.map(|id| id.namespace().into()).unwrap_or_default(),
            identity: identity.cloned(),
            ..Self::default()
        }
    }

    /// The same, as metrics know it: pods come and go, what runs them stays.
    pub(super) fn without_pod(self) -> Self {
        Self {
            pod: Arc::default(),
            ..self
        }
    }

    /// The same, with the identity that it proved.
    pub(crate) fn with_identity(self, identity: Option<SpiffeId>) -> Self {
        Self { identity, ..self }
    }
}

/// The service that a client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ServiceName {
    pub(crate) hostname: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl ServiceName {
    /// The names of `service`.
    pub(crate) fn of(service: &Service) -> Self {
        Self {
            hostname: service.hostname.clone(),
            namespace: service.namespace.clone(),
            name: service.name.clone(),
        }
    }
}
