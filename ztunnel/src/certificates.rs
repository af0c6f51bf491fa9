//! One certificate for each service account that a pod of this node runs as.
//!
//! Invariants: a pod's identity is made of what the agent says of it and the mesh's trust domain, never of what a peer
//! or the pod says; a certificate is asked for when the first pod needs it, also when the mesh's settings arrive only
//! after the pod, and let go of with the last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_identity::{CertHandle, CertStatus, Identity, SecretManager, SpiffeId, TrustDomain};
use culvert_policy::DenyReason;
use tokio::sync::watch;

use crate::inpod::Pod;

/// Gives pods their certificates.
#[derive(Debug)]
pub(crate) struct Certificates {
    manager: SecretManager,
    trust_domain: Mutex<Option<TrustDomain>>,
}

/// The certificate of one pod, once the mesh's trust domain is known.
#[derive(Debug)]
pub(crate) struct Certificate(watch::Sender<Option<CertHandle>>);

impl Default for Certificate {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Certificates {
    /// `manager` asks the controller.
    pub(crate) fn new(manager: SecretManager) -> Self {
        Self {
            manager,
            trust_domain: Mutex::default(),
        }
    }

    /// Watch the certificate of `pod`, as soon as its whole name is known.
    pub(crate) fn assign(&self, pod: &Pod) {
        let trust_domain = self
            .trust_domain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(trust_domain) = trust_domain else {
            return;
        };
        let info = pod.info();
        match SpiffeId::new(&trust_domain, &info.namespace, &info.service_account) {
            Ok(id) if pod.certificate.id().as_ref() == Some(&id) => {}
            Ok(id) => drop(
                pod.certificate
                    .0
                    .send_replace(Some(self.manager.watch(&id))),
            ),
            Err(error) => tracing::error!(pod = %pod.uid(), %error, "the pod can have no identity"),
        }
    }

    /// The mesh's trust domain is known, or has changed: every pod gets its name in it.
    pub(crate) fn set_trust_domain(
        &self,
        trust_domain: TrustDomain,
        pods: impl IntoIterator<Item = Arc<Pod>>,
    ) {
        *self
            .trust_domain
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(trust_domain);
        // A pod that joined before this line is among `pods`; one that joins after it finds the trust domain.
        for pod in pods {
            self.assign(&pod);
        }
    }

    /// What is held, for the admin server and the controller.
    pub(crate) fn list(&self) -> Vec<CertStatus> {
        self.manager.list()
    }
}

impl Certificate {
    /// The current certificate, waiting `patience` for the first one.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<Arc<Identity>, DenyReason> {
        if let Some(identity) = self.0.borrow().as_ref().and_then(CertHandle::current) {
            return Ok(identity);
        }
        let first = async {
            let mut assigned = self.0.subscribe();
            let handle = assigned.wait_for(Option::is_some).await.ok()?.clone()?;
            handle.ready(patience).await.ok()
        };
        let identity = tokio::time::timeout(patience, first).await.ok().flatten();
        identity.ok_or(DenyReason::CertificateUnavailable)
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> Option<SpiffeId> {
        self.0.borrow().as_ref().map(|handle| handle.id().clone())
    }

    /// The pod has left; nothing is renewed for it any more.
    pub(crate) fn release(&self) {
        self.0.send_replace(None);
    }
}
