//! How TLS is begun at backends, by service and port.
//!
//! Invariants: what a policy is for is reached as it says or not at all. Contexts are made here, once for each policy and
//! certificate of our own; the same ones serve on as long as both stay what they are, and other ones are a new identity,
//! under which no connection of the old one is used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use culvert_policy::DenyReason;

use super::Resources;
use crate::config::ServiceRef;
use crate::config::backend_tls::{BackendTlsPolicy, Target};
use crate::config::certificate::Certificate;
use crate::tls::client::TlsClient;

/// What this gateway proves itself with; none, or why there is none though there should be.
type Own = Result<Option<Arc<Certificate>>, String>;

/// How TLS is begun at the backends of one policy.
#[derive(Debug)]
pub struct Origination {
    policy: Arc<BackendTlsPolicy>,
    own: Own,
    client: Result<TlsClient, Refused>,
}

/// Why the backends of a policy are not reached.
#[derive(Debug, Clone)]
struct Refused(DenyReason, String);

/// All originations.
#[derive(Debug, Default)]
pub(super) struct BackendTls {
    services: HashMap<Arc<str>, Vec<(u16, Arc<Origination>)>>,
}

impl Origination {
    fn new(policy: &Arc<BackendTlsPolicy>, own: &Own) -> Self {
        let client = match (&policy.settings, own) {
            (Err(reason), _) => Err(Refused(DenyReason::BackendUnresolved, reason.clone())),
            (_, Err(reason)) => Err(Refused(DenyReason::CertificateUnavailable, reason.clone())),
            (Ok(settings), Ok(own)) => TlsClient::new(settings, own.as_deref())
                .map_err(|error| Refused(DenyReason::BackendUnresolved, error.to_string())),
        };
        if let Err(Refused(_, reason)) = &client {
            tracing::warn!(policy = %policy.name, reason, "backends of this policy are not reached");
        }
        Self {
            policy: Arc::clone(policy),
            own: own.clone(),
            client,
        }
    }

    /// `NAMESPACE/NAME` of the policy.
    pub fn policy(&self) -> &Arc<str> {
        &self.policy.name
    }

    /// What begins TLS, or why the backends are not reached.
    pub fn client(&self) -> Result<&TlsClient, DenyReason> {
        self.client.as_ref().map_err(|Refused(reason, message)| {
            tracing::debug!(policy = %self.policy.name, message, "a backend is not reached");
            *reason
        })
    }

    /// Whether it is made of these.
    fn is(&self, policy: &Arc<BackendTlsPolicy>, own: &Own) -> bool {
        let same = match (&self.own, own) {
            (Ok(Some(known)), Ok(Some(own))) => Arc::ptr_eq(known, own),
            (Ok(None), Ok(None)) => true,
            (Err(known), Err(own)) => known == own,
            _ => false,
        };
        same && Arc::ptr_eq(&self.policy, policy)
    }
}

impl BackendTls {
    /// Of all policies. What `known` has already is taken from there.
    pub(super) fn new(
        resources: &Resources,
        known: &mut BTreeMap<Arc<str>, Arc<Origination>>,
    ) -> Self {
        let mut made = BTreeMap::new();
        let mut all = Self::default();
        if !resources.backend_tls.is_empty() {
            let own = own(resources);
            for policy in resources.backend_tls.values() {
                let before = known.get(&policy.name).filter(|o| o.is(policy, &own));
                let origination =
                    before.map_or_else(|| Arc::new(Origination::new(policy, &own)), Arc::clone);
                all.add(&origination);
                made.insert(Arc::clone(&policy.name), origination);
            }
        }
        *known = made;
        all
    }

    /// Of several for the same the first by name counts; the controller sees to it that there are none.
    fn add(&mut self, origination: &Arc<Origination>) {
        for target in &origination.policy.targets {
            let Target::Service(ServiceRef { service, port }) = target;
            let ports = self.services.entry(Arc::clone(service)).or_default();
            if ports.iter().all(|(known, _)| known != port) {
                ports.push((*port, Arc::clone(origination)));
            }
        }
    }

    /// How TLS is begun at a port of a service; none: it is not.
    pub(super) fn of(&self, wanted: &ServiceRef) -> Option<&Arc<Origination>> {
        if self.services.is_empty() {
            return None;
        }
        let ports = self.services.get(&wanted.service)?;
        let at = |port| ports.iter().find(|(named, _)| *named == port);
        let (_, origination) = at(wanted.port).or_else(|| at(0))?;
        Some(origination)
    }
}

/// What this process's own Gateway wants it to prove itself with.
fn own(resources: &Resources) -> Own {
    let gateway = resources.gateways.values().next();
    let Some(wanted) = gateway.and_then(|gateway| gateway.client_certificate.as_ref()) else {
        return Ok(None);
    };
    let name = wanted.as_ref().map_err(String::clone)?;
    let known = resources.certificates.get(&**name);
    known
        .map(|certificate| Some(Arc::clone(certificate)))
        .ok_or_else(|| format!("certificate {name} is not known"))
}

#[cfg(test)]
mod tests;
