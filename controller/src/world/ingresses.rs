//! Ingresses by the hosts that they ask for, which namespace had a host first, and the gateway that serves them all.
//!
//! Invariant: a namespace that has a host keeps it as long as it asks for it, whatever the age of what others write: a new
//! host in an old Ingress takes nothing away from anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Ingress, NsName, Obj};

/// The name of the gateway, and of all that is made for it.
const GATEWAY: &str = "culvert-ingress";
/// Where it is unless something else is known.
const NAMESPACE: &str = "culvert-system";

/// Hosts by name, as they are remembered: the empty one stands for all others.
pub type Owners = BTreeMap<String, Arc<str>>;

/// Ingresses, whosever they are.
#[derive(Debug)]
pub struct Ingresses {
    gateway: NsName,
    by_host: BTreeMap<String, BTreeSet<NsName>>,
    owners: Owners,
}

impl Default for Ingresses {
    fn default() -> Self {
        Self::served_in(NAMESPACE)
    }
}

impl Ingresses {
    /// None yet, to be served by a gateway in the controller's own namespace.
    #[must_use]
    pub fn served_in(namespace: &str) -> Self {
        Self {
            gateway: NsName::new(namespace, GATEWAY),
            by_host: BTreeMap::new(),
            owners: Owners::new(),
        }
    }

    /// With what is remembered of hosts.
    #[must_use]
    pub fn with_owners(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// The gateway that serves all of them.
    #[must_use]
    pub fn gateway(&self) -> &NsName {
        &self.gateway
    }

    pub(super) fn set(&mut self, ingress: &Obj<Ingress>, present: bool) {
        let name = &ingress.meta.name;
        for host in ingress.spec.hosts() {
            if present {
                let asking = self.by_host.entry(host.to_owned()).or_default();
                asking.insert(name.clone());
            } else if let Some(asking) = self.by_host.get_mut(host) {
                asking.remove(name);
                if asking.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
    }

    /// Hosts that anybody asks for.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(String::as_str)
    }

    /// Ingresses that ask for a host.
    pub fn asking(&self, host: &str) -> impl Iterator<Item = &NsName> + use<'_> {
        self.by_host.get(host).into_iter().flatten()
    }

    /// The namespace that had a host when it was last settled.
    #[must_use]
    pub fn owner(&self, host: &str) -> Option<&str> {
        self.owners.get(host).map(|namespace| &**namespace)
    }

    /// Who has which host.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// It is in writing that these have them. What is not in writing yet stays. Gives back the hosts of which that is news.
    pub fn store(&mut self, written: Owners) -> BTreeSet<String> {
        let mut owners = self.owners.clone();
        owners.extend(written);
        self.settle(owners)
    }

    /// From now on these have them, and no others any. Gives back the hosts of which that is news.
    pub fn settle(&mut self, owners: Owners) -> BTreeSet<String> {
        let before = std::mem::replace(&mut self.owners, owners);
        let now = &self.owners;
        let hosts = before.keys().chain(now.keys());
        hosts
            .filter(|host| before.get(*host) != now.get(*host))
            .cloned()
            .collect()
    }
}
