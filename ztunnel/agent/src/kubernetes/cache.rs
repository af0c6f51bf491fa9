//! What is known of this node's pods, from the API, the CNI plugin and the node's processes, and what follows from it.
//!
//! Invariants: nothing follows before the API has told everything once, so that its silence is never taken for a
//! removal; once known, a pod stays as it is while the API is away; a namespace that the runtime told of is not given up
//! for one that was found.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use culvert_enrolment::{self as enrolment, Outside, keys};
use culvert_runtime::netns::Netns;
use tokio::time::Instant;

use super::facts::Facts;
use crate::pod::{CaptureOptions, Pod, Strict};
use crate::source::PodEvent;

/// While the runtime makes a new sandbox, the old one's processes may still be there.
const SETTLE: Duration = Duration::from_secs(60);

/// What the API tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Pods of this node.
    Pods,
    /// Namespaces.
    Namespaces,
    /// The MeshConfig.
    Settings,
}

/// A pod's network namespace and how it was learnt.
#[derive(Clone, Debug)]
struct Sandbox {
    netns: Netns,
    /// What the runtime's plugins gave it; empty if it was found.
    addresses: Vec<IpAddr>,
    since: Instant,
}

#[derive(Debug)]
struct Known {
    facts: Facts,
    sandbox: Option<Sandbox>,
    /// What was said of it last.
    said: Option<Pod>,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Cache {
    pods: BTreeMap<String, Known>,
    /// By name, whether they ask for the mesh.
    namespaces: HashMap<String, Option<String>>,
    exclusions_forbidden: bool,
    /// By namespace and name, where a pod of these addresses is strict.
    strict: BTreeMap<(String, String), (Vec<IpAddr>, Strict)>,
    told: Vec<Kind>,
    /// The mesh is being uninstalled.
    leaving: bool,
}

/// A pod as the CNI plugin's question finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The API has not told of it.
    Unknown,
    /// It is being deleted.
    Deleting,
    /// It is not in the mesh.
    Outside(Outside),
    /// It is, under this uid.
    Inside(String),
}

impl Cache {
    /// Everything of `kind` that there is has been told.
    pub fn synced(&mut self, kind: Kind) {
        if !self.told.contains(&kind) {
            self.told.push(kind);
        }
    }

    /// Whether the API has told everything once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.told.len() == 3
    }

    /// A pod is there, or has changed.
    pub fn put(&mut self, facts: Facts) {
        for mistake in &facts.mistakes {
            let known = self.pods.get(&facts.uid);
            if known.is_none_or(|known| !known.facts.mistakes.contains(mistake)) {
                tracing::warn!(
                    namespace = facts.namespace,
                    pod = facts.name,
                    mistake,
                    "excludes nothing"
                );
            }
        }
        match self.pods.get_mut(&facts.uid) {
            Some(known) => known.facts = facts,
            None => {
                let (sandbox, said) = (None, None);
                let uid = facts.uid.clone();
                self.pods.insert(
                    uid,
                    Known {
                        facts,
                        sandbox,
                        said,
                    },
                );
            }
        }
    }

    /// A pod is gone.
    pub fn remove(&mut self, uid: &str) -> Option<PodEvent> {
        self.pods.remove(uid)?.said?;
        Some(PodEvent::Deleted(uid.to_owned()))
    }

    /// Only these pods are there.
    pub fn retain(&mut self, uids: &[String]) -> Vec<PodEvent> {
        let gone: Vec<String> = self
            .pods
            .keys()
            .filter(|uid| !uids.contains(uid))
            .cloned()
            .collect();
        gone.iter().filter_map(|uid| self.remove(uid)).collect()
    }

    /// Whether the API tells of this pod.
    #[must_use]
    pub fn has(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// A namespace is there, or has changed.
    pub fn put_namespace(&mut self, name: String, mode: Option<String>) {
        self.namespaces.insert(name, mode);
    }

    /// A namespace is gone. Pods of it go before.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Only these namespaces are there.
    pub fn retain_namespaces(&mut self, names: &[String]) {
        self.namespaces.retain(|name, _| names.contains(name));
    }

    /// Whether MeshConfig lets annotations exclude traffic.
    pub fn forbid_exclusions(&mut self, forbidden: bool) {
        self.exclusions_forbidden = forbidden;
    }

    /// The controller says where the pod of this name and these addresses is strict.
    pub fn put_strict(&mut self, name: (String, String), addresses: Vec<IpAddr>, strict: Strict) {
        self.strict.insert(name, (addresses, strict));
    }

    /// Of how many pods it has said that.
    #[cfg(test)]
    pub(super) fn strict_pods(&self) -> usize {
        self.strict.len()
    }

    /// The controller says nothing of this pod any more.
    pub fn remove_strict(&mut self, name: &(String, String)) {
        self.strict.remove(name);
    }

    /// From now on nobody is in the mesh.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the mesh is being uninstalled.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// What the plugin's question is about. The runtime may not say the uid.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str, uid: &str) -> Found {
        let named = |known: &&Known| known.facts.namespace == namespace && known.facts.name == name;
        let is = |known: &&Known| {
            uid.is_empty() || known.facts.uid == uid || known.facts.runtime_uid == uid
        };
        let Some(known) = self.pods.values().filter(named).find(is) else {
            return Found::Unknown;
        };
        match self.decide(&known.facts) {
            None => Found::Unknown,
            _ if known.facts.deleting => Found::Deleting,
            Some(Err(outside)) => Found::Outside(outside),
            Some(Ok(())) => Found::Inside(known.facts.uid.clone()),
        }
    }

    /// The runtime has made this namespace for a pod.
    pub fn made(&mut self, uid: &str, netns: Netns, addresses: Vec<IpAddr>) {
        if let Some(known) = self.pods.get_mut(uid) {
            let since = Instant::now();
            known.sandbox = Some(Sandbox {
                netns,
                addresses,
                since,
            });
        }
    }

    /// A pod's processes are in these namespaces.
    pub fn found(&mut self, runtime_uid: &str, namespaces: &[Netns]) {
        let Some(first) = namespaces.first() else {
            return;
        };
        let is = |known: &&mut Known| known.facts.runtime_uid == runtime_uid;
        for known in self.pods.values_mut().filter(is) {
            let keep = known.sandbox.as_ref().is_some_and(|held| {
                let told_just_now = !held.addresses.is_empty() && held.since.elapsed() < SETTLE;
                told_just_now || namespaces.iter().any(|found| found.id() == held.netns.id())
            });
            if !keep {
                let (netns, since) = (first.clone(), Instant::now());
                let addresses = Vec::new();
                known.sandbox = Some(Sandbox {
                    netns,
                    addresses,
                    since,
                });
            }
        }
    }

    /// Whether a pod of the mesh runs in a namespace that is not known.
    #[must_use]
    pub fn lacks(&self) -> bool {
        let lacks = |known: &Known| {
            known.sandbox.is_none()
                && !known.facts.addresses.is_empty()
                && self.decide(&known.facts) == Some(Ok(()))
        };
        self.pods.values().any(lacks)
    }

    /// What follows that was not said yet.
    pub fn news(&mut self) -> Vec<PodEvent> {
        if !self.is_synced() {
            return Vec::new();
        }
        let mut news = Vec::new();
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            let Some(pod) = self.pods.get(&uid).and_then(|known| self.pod(known)) else {
                continue;
            };
            if let Some(known) = self
                .pods
                .get_mut(&uid)
                .filter(|known| known.said.as_ref() != Some(&pod))
            {
                if !pod.enrolled {
                    // Nothing is to be done in it, so nothing is to keep it.
                    known.sandbox = None;
                }
                known.said = Some(pod.clone());
                news.push(PodEvent::Upsert(Box::new(pod)));
            }
        }
        news
    }

    /// Whether a pod is in the mesh; `None` while that is not known.
    fn decide(&self, facts: &Facts) -> Option<Result<(), Outside>> {
        if self.leaving {
            return Some(Err(Outside::NotAsked));
        }
        let namespace_mode = self.namespaces.get(&facts.namespace)?;
        let label = |key: &str| facts.labels.get(key).map(String::as_str);
        Some(enrolment::decide(&enrolment::Pod {
            namespace: &facts.namespace,
            namespace_mode: namespace_mode.as_deref(),
            mode: label(keys::DATAPLANE_MODE),
            gateway_class: label(keys::GATEWAY_CLASS),
            foreign: facts.foreign,
            host_network: facts.host_network,
            ended: facts.ended,
        }))
    }

    /// Where a pod is strict, if that was said of it and not of one that had its name before.
    fn strict_of(&self, facts: &Facts, addresses: &[IpAddr]) -> Option<Strict> {
        let name = (facts.namespace.clone(), facts.name.clone());
        let (of, strict) = self.strict.get(&name)?;
        let same = addresses.iter().any(|address| of.contains(address));
        same.then(|| strict.clone())
    }

    fn pod(&self, known: &Known) -> Option<Pod> {
        let facts = &known.facts;
        let enrolled = self.decide(facts)?.is_ok();
        let mut options = facts.options.clone();
        if self.exclusions_forbidden {
            options = CaptureOptions {
                dns_capture: true,
                probe_ports: options.probe_ports,
                ..CaptureOptions::default()
            };
        }
        let sandbox = known.sandbox.as_ref().filter(|_| enrolled);
        let told = sandbox.map(|sandbox| &sandbox.addresses);
        // The API's may still be those of the sandbox before.
        let told = told.filter(|told| !told.is_empty());
        let mut addresses = told.unwrap_or(&facts.addresses).clone();
        // Whoever tells them, they are the same.
        addresses.sort_unstable();
        let strict = self.strict_of(facts, &addresses);
        Some(Pod {
            uid: facts.uid.clone(),
            name: facts.name.clone(),
            namespace: facts.namespace.clone(),
            service_account: facts.service_account.clone(),
            addresses,
            netns: sandbox
                .map(|sandbox| crate::place::Place::Held(sandbox.netns.clone()))
                .unwrap_or_default(),
            enrolled,
            options,
            strict,
        })
    }
}

#[cfg(test)]
mod tests;
