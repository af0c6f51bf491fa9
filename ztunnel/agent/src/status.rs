//! The state of every pod's capture, as people and the controller are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::metrics;

/// How far a pod's capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// Sockets, rules and audit: done.
    Captured,
    /// Waits for something that is not wrong. Not captured.
    Pending,
    /// Something is wrong.
    Failed,
    /// Was captured and is no more.
    Released,
}

impl Capture {
    /// Its name on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Released => "released",
        }
    }
}

/// One pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// How far.
    pub capture: Capture,
    /// What it waits for, or what is wrong; empty if there is nothing to say.
    pub message: String,
    /// Inode of the network namespace that holds the rules; 0 for none.
    pub netns: u64,
    /// Of the rules in force; 0 for none.
    pub generation: u64,
    /// Connections from before the rules that are still open.
    pub connections_before: usize,
    /// Plaintext connections to strict ports that were ended.
    pub connections_closed: usize,
    /// How often its rules had to be put right.
    pub repairs: u64,
}

/// All of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statuses(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pods: Mutex<BTreeMap<String, Status>>,
    rules: OnceLock<&'static str>,
    changed: watch::Sender<()>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self(Arc::new(Shared {
            pods: Mutex::default(),
            rules: OnceLock::new(),
            changed: watch::Sender::new(()),
        }))
    }
}

impl Statuses {
    /// Say what makes the rules; said once.
    pub fn made_by(&self, backend: &'static str) {
        let _said = self.0.rules.set(backend);
    }

    /// What makes the rules, once it is known: `iptables-nft`, `iptables-legacy` or `nftables`.
    #[must_use]
    pub fn rules(&self) -> Option<&'static str> {
        self.0.rules.get().copied()
    }

    /// Replace a pod's.
    pub fn set(&self, uid: &str, status: &Status) {
        let mut pods = self.lock();
        let before = pods.insert(uid.to_owned(), status.clone());
        if before.as_ref() == Some(status) {
            return;
        }
        let state = status.capture.as_str();
        if before.is_none_or(|b| b.capture != status.capture || b.message != status.message) {
            tracing::info!(
                pod = uid,
                capture = state,
                message = status.message,
                "capture"
            );
        }
        self.announce(pods);
    }

    /// Forget a pod that is gone.
    pub fn remove(&self, uid: &str) {
        let mut pods = self.lock();
        if pods.remove(uid).is_some() {
            self.announce(pods);
        }
    }

    /// How far a pod's capture is, if it is known.
    #[must_use]
    pub fn capture(&self, uid: &str) -> Option<Capture> {
        self.lock().get(uid).map(|status| status.capture)
    }

    /// Whether a pod is captured, and that in this network namespace.
    #[must_use]
    pub fn is_captured_in(&self, uid: &str, inode: u64) -> bool {
        let is = |status: &Status| status.capture == Capture::Captured && status.netns == inode;
        self.lock().get(uid).is_some_and(is)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Status> {
        self.lock().clone()
    }

    /// Told of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn announce(&self, pods: MutexGuard<'_, BTreeMap<String, Status>>) {
        metrics::pods(pods.values().map(|status| status.capture.as_str()));
        drop(pods);
        self.0.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Status>> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
