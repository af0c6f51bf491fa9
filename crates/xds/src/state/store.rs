//! [`Store`]: takes updates, validates them, publishes snapshots.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use culvert_proto::type_url;
use tokio::sync::watch;

use super::intern::Interners;
use super::settings::{Settings, TrustRoots};
use super::snapshot::Snapshot;
use super::writer::write;
use crate::handler::{Handler, Rejected, Update, reject_all};

/// The mesh's state, shared by everything in a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: ArcSwap<Snapshot>,
    /// Held while an update is applied: there is one writer at a time, and readers never wait for it.
    interners: Mutex<Interners>,
    changed: watch::Sender<u64>,
    trust_roots: watch::Sender<Option<Arc<TrustRoots>>>,
    synced: watch::Sender<BTreeSet<&'static str>>,
}

/// The types that a store handles, in the order in which to subscribe to them.
const TYPES: &[&str] = &[
    type_url::TRUST_BUNDLE,
    type_url::MESH_SETTINGS,
    type_url::AUTHORIZATION,
    type_url::ADDRESS,
];

impl Store {
    /// The types that a store handles, in the order in which to subscribe to them.
    pub const TYPES: &'static [&'static str] = TYPES;

    /// The types that a store handles for who enforces what leaves the mesh. To be subscribed to before the others, and
    /// not waited for: not every control plane has them, and what is named and not there refuses.
    pub const EGRESS_TYPES: &'static [&'static str] = &[type_url::EGRESS_POLICY];

    /// An empty store, with settings that hold until the control plane sends some.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            snapshot: ArcSwap::from_pointee(Snapshot::new(settings)),
            interners: Mutex::default(),
            changed: watch::Sender::new(0),
            trust_roots: watch::Sender::new(None),
            synced: watch::Sender::new(BTreeSet::new()),
        }))
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The version of the current snapshot, told of each change.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The roots of trust, `None` until some were sent.
    #[must_use]
    pub fn trust_roots(&self) -> watch::Receiver<Option<Arc<TrustRoots>>> {
        self.0.trust_roots.subscribe()
    }

    /// Whether the control plane has said what there is of a type: anything or nothing of workloads, services and
    /// policies, but the settings and roots of trust themselves.
    #[must_use]
    pub fn synced(&self, type_url: &str) -> bool {
        self.0.synced.borrow().contains(type_url)
    }

    /// Waits until each of these types is [`synced`](Self::synced).
    pub async fn wait_synced(&self, types: &[&str]) {
        let mut synced = self.0.synced.subscribe();
        // The sender lives as long as `self`.
        let _ = synced
            .wait_for(|synced| types.iter().all(|url| synced.contains(url)))
            .await;
    }

    fn publish(&self, roots: TrustRoots) {
        self.0.trust_roots.send_if_modified(|current| {
            let changed = current.as_deref() != Some(&roots);
            if changed {
                *current = Some(Arc::new(roots));
            }
            changed
        });
    }
}

impl Handler for Store {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        let mut types = TYPES.iter().chain(Self::EGRESS_TYPES);
        let Some(type_url) = types.find(|known| **known == type_url) else {
            return reject_all(update, "the store does not handle this type");
        };
        let mut interners = self
            .0
            .interners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let written = write(&self.0.snapshot.load(), &mut interners, type_url, update);
        if let Some(snapshot) = written.snapshot {
            let version = snapshot.version;
            self.0.snapshot.store(Arc::new(snapshot));
            self.0.changed.send_replace(version);
        }
        if let Some(roots) = written.trust_roots {
            self.publish(roots);
        }
        if written.synced {
            self.0
                .synced
                .send_if_modified(|synced| synced.insert(type_url));
        }
        written.rejected
    }
}
