//! The pods that this node's ztunnel serves, by what the agent calls them.
//!
//! Invariants: a uid is served in one namespace and a namespace for one uid; taking a pod out stops its listeners and
//! sends GOAWAY on its tunnels, while its open connections finish.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use culvert_runtime::drain::{self, Trigger};
use culvert_runtime::netns::Netns;

use crate::node::Node;
use crate::proxy;

use super::listeners::Listeners;
use super::metrics;
use super::pod::{Pod, PodError};

/// The table. One for the process.
#[derive(Debug)]
pub(crate) struct Pods {
    node: Arc<Node>,
    served: Mutex<BTreeMap<Arc<str>, Served>>,
    /// Pods that have left and may still have connections.
    left: Mutex<Vec<Weak<Pod>>>,
}

#[derive(Debug)]
struct Served {
    workload: culvert_zds::Workload,
    pod: Arc<Pod>,
    /// Starts the drain of the pod's listeners and tunnels, at the latest when dropped.
    trigger: Arc<Trigger>,
}

impl Pods {
    /// No pod yet.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            served: Mutex::default(),
            left: Mutex::default(),
        }
    }

    /// Serve a pod. One that is served already is left alone if nothing about it changed, and else begun anew; the
    /// connections that it has go on.
    pub(crate) fn add(
        &self,
        workload: culvert_zds::Workload,
        netns: OwnedFd,
    ) -> Result<(), PodError> {
        let uid: Arc<str> = workload.uid.as_str().into();
        let netns = Netns::from_fd(netns).map_err(|error| PodError::Netns {
            uid: uid.clone(),
            error,
        })?;
        let mut served = self.lock();
        if let Some(other) = served
            .values()
            .find(|other| other.pod.netns_id() == netns.id() && *other.pod.uid() != uid)
        {
            return Err(PodError::SharedNetns {
                uid,
                other: other.pod.uid().clone(),
            });
        }
        if served
            .get(&uid)
            .is_some_and(|old| old.workload == workload && old.pod.netns_id() == netns.id())
        {
            return Ok(());
        }
        let pod = Arc::new(Pod::new(
            workload.clone(),
            netns,
            &self.node.limits,
            &self.node.quota,
        )?);
        let listeners =
            Listeners::bind(pod.netns(), pod.mark()).map_err(|error| PodError::Listeners {
                uid: uid.clone(),
                error,
            })?;
        let (trigger, drain) = drain::channel();
        proxy::serve(&self.node, &pod, listeners, &drain);
        if let Some(old) = served.insert(
            uid.clone(),
            Served {
                workload,
                pod: pod.clone(),
                trigger: Arc::new(trigger),
            },
        ) {
            self.retire(&old.pod);
        }
        drop(served);
        self.node.certificates.assign(&pod);
        metrics::started();
        tracing::info!(pod = %uid, addresses = ?pod.addresses(), "pod joined");
        Ok(())
    }

    /// The agent vouches that nothing about this pod changed.
    pub(crate) fn keep(&self, uid: &str) -> Result<(), PodError> {
        let known = self.lock().contains_key(uid);
        if known {
            Ok(())
        } else {
            Err(PodError::Unknown(uid.to_owned()))
        }
    }

    /// Stop serving a pod. Not to know it is no error: it is what was asked for.
    pub(crate) fn remove(&self, uid: &str) {
        let mut served = self.lock();
        if let Some(gone) = served.remove(uid) {
            self.retire(&gone.pod);
            drop(served);
            tracing::info!(pod = %uid, "pod left");
        }
    }

    /// Stop serving whatever is not in `named`.
    pub(crate) fn retain(&self, named: &HashSet<String>) {
        let gone: Vec<_> = self
            .lock()
            .keys()
            .filter(|uid| !named.contains(&***uid))
            .cloned()
            .collect();
        for uid in gone {
            self.remove(&uid);
        }
    }

    /// Every pod that is served.
    pub(crate) fn list(&self) -> Vec<Arc<Pod>> {
        self.lock()
            .values()
            .map(|served| served.pod.clone())
            .collect()
    }

    /// Every pod that may have connections: those that have left while theirs go on are among them.
    pub(crate) fn with_connections(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.list();
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        pods.extend(left.iter().filter_map(Weak::upgrade));
        pods
    }

    /// Take no new connections for any pod.
    pub(crate) fn drain(&self) {
        for served in self.lock().values() {
            served.trigger.start();
        }
    }

    /// Wait until nothing of the pods is served any more: what waited to be accepted, peers' tunnels to their last byte,
    /// connections, questions. After [`Self::drain`].
    pub(crate) async fn drained(&self) {
        let triggers: Vec<_> = self
            .lock()
            .values()
            .map(|served| served.trigger.clone())
            .collect();
        for trigger in triggers {
            trigger.finished().await;
        }
    }

    /// Let go of all pods' own tunnels: they close when what is in them has been written.
    pub(crate) fn release_tunnels(&self) {
        for pod in self.with_connections() {
            self.node.cores.retire(pod.tunnels());
        }
    }

    fn retire(&self, pod: &Arc<Pod>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|pod| pod.strong_count() > 0);
        left.push(Arc::downgrade(pod));
        drop(left);
        pod.certificate.release();
        self.node.cores.retire(pod.tunnels());
        metrics::stopped();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
