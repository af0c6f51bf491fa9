//! Who took part in a connection, as metrics and logs name it.

use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_xds::state::Workload;

/// One end of a connection. Empty texts where nothing is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Party {
    workload: Option<Arc<Workload>>,
    /// Proved by mutual TLS, or our own; never taken from a header.
    pub(crate) identity: Option<SpiffeId>,
}

impl Party {
    /// A workload, without an identity: what is configured proves nothing.
    pub(crate) fn of(workload: &Arc<Workload>) -> Self {
        Self {
            workload: Some(workload.clone()),
            identity: None,
        }
    }

    /// Somebody of whom only the identity is known, if that.
    pub(crate) fn anonymous(identity: Option<&SpiffeId>) -> Self {
        Self {
            workload: None,
            identity: identity.cloned(),
        }
    }

    /// The same, with the identity that it proved.
    pub(crate) fn with_identity(self, identity: Option<SpiffeId>) -> Self {
        Self { identity, ..self }
    }

    /// The pod's name, for logs: pods come and go, what runs them stays.
    pub(super) fn pod(&self) -> &str {
        self.text(Workload::name)
    }

    /// The name of what runs it, for example of a Deployment.
    pub(super) fn workload(&self) -> &str {
        self.text(|workload| workload.workload_name())
    }

    pub(super) fn namespace(&self) -> &str {
        match (&self.workload, &self.identity) {
            (Some(workload), _) => workload.namespace(),
            (None, Some(identity)) => identity.namespace(),
            (None, None) => "",
        }
    }

    pub(super) fn canonical_name(&self) -> &str {
        self.text(|workload| workload.canonical_name())
    }

    pub(super) fn canonical_revision(&self) -> &str {
        self.text(|workload| workload.canonical_revision())
    }

    pub(super) fn cluster(&self) -> &str {
        self.text(|workload| workload.cluster_id())
    }

    pub(super) fn region(&self) -> &str {
        self.text(|workload| &workload.locality().region)
    }

    pub(super) fn zone(&self) -> &str {
        self.text(|workload| &workload.locality().zone)
    }

    fn text(&self, text: impl FnOnce(&Workload) -> &str) -> &str {
        self.workload.as_deref().map(text).unwrap_or_default()
    }
}
