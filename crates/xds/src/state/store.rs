//! [`Store`]: takes updates, validates them, publishes snapshots.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use culvert_proto::istio::workload::{Address, address};
use culvert_proto::type_url;
use prost::Message as _;
use tokio::sync::watch;

use super::decode::{
    Invalid, attachment_by_name, decode_policy, decode_service, decode_settings,
    decode_trust_bundle, decode_workload, unreadable_policy, with_trust_domain,
};
use super::intern::Interners;
use super::settings::{Settings, TrustRoots};
use super::snapshot::Snapshot;
use crate::handler::{Handler, Rejected, Resource, Update, reject_all};

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

    /// Whether the control plane has said what there is of a type.
    #[must_use]
    pub fn synced(&self, type_url: &str) -> bool {
        self.0.synced.borrow().contains(type_url)
    }

    /// Waits until the control plane has said what there is of each of these types.
    pub async fn wait_synced(&self, types: &[&str]) {
        let mut synced = self.0.synced.subscribe();
        // The sender lives as long as `self`.
        let _ = synced
            .wait_for(|synced| types.iter().all(|url| synced.contains(url)))
            .await;
    }
}

impl Handler for Store {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        let Some(type_url) = TYPES.iter().find(|known| **known == type_url) else {
            return reject_all(update, "the store does not handle this type");
        };
        let mut interners = self
            .0
            .interners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut writer = Writer {
            next: Snapshot::clone(&self.0.snapshot.load()),
            interners: &mut interners,
            dirty: false,
            rejected: Vec::new(),
        };
        match *type_url {
            type_url::ADDRESS => writer.addresses(update),
            type_url::AUTHORIZATION => writer.policies(update),
            type_url::MESH_SETTINGS => writer.settings(update),
            _ => writer.trust_bundle(update, &self.0.trust_roots),
        }
        let Writer {
            mut next,
            dirty,
            rejected,
            ..
        } = writer;
        if dirty {
            next.version += 1;
            let version = next.version;
            self.0.snapshot.store(Arc::new(next));
            self.0.changed.send_replace(version);
        }
        self.0
            .synced
            .send_if_modified(|synced| synced.insert(type_url));
        rejected
    }
}

/// One update on its way into the next snapshot.
struct Writer<'a> {
    next: Snapshot,
    interners: &'a mut Interners,
    dirty: bool,
    rejected: Vec<Rejected>,
}

impl Writer<'_> {
    fn reject(&mut self, name: Arc<str>, error: &Invalid) {
        self.rejected.push(Rejected {
            name,
            error: error.to_string(),
        });
    }

    fn addresses(&mut self, update: Update) {
        for name in update.removed {
            self.next.remove_address(&name);
            self.dirty = true;
        }
        for resource in update.resources {
            match self.address(&resource) {
                Ok(()) => self.dirty = true,
                Err(error) => self.reject(resource.name, &error),
            }
        }
    }

    fn address(&mut self, resource: &Resource) -> Result<(), Invalid> {
        let message = Address::decode(resource.body.clone())?;
        match message.r#type {
            None => {
                return Err(Invalid {
                    field: "type".to_owned(),
                    problem: "is neither workload nor service".to_owned(),
                });
            }
            Some(address::Type::Workload(workload)) => {
                let trust_domain = &self.next.settings.trust_domain;
                let workload =
                    decode_workload(self.interners, trust_domain, &resource.name, &workload)?;
                self.next.put_workload(&Arc::new(workload));
            }
            Some(address::Type::Service(service)) => {
                let service = decode_service(self.interners, &resource.name, &service)?;
                self.next.put_service(&Arc::new(service));
            }
        }
        Ok(())
    }

    /// A policy that was never good is not just missing: what stands in for it denies.
    fn policies(&mut self, update: Update) {
        let root_namespace = self.next.settings.root_namespace.clone();
        for name in update.removed {
            self.next.policies.remove(&name);
            self.dirty = true;
        }
        for resource in update.resources {
            match decode_policy(&resource.name, &resource.body, &root_namespace) {
                Ok(policy) => {
                    self.next.policies.insert(policy);
                    self.dirty = true;
                }
                Err(unreadable) => {
                    self.stand_in(*unreadable.stand_in);
                    self.reject(resource.name, &unreadable.error);
                }
            }
        }
        // Without a name it can neither be meant for anybody nor be taken back.
        let unreadable = update.unreadable.into_iter().filter(|r| !r.name.is_empty());
        for rejected in unreadable {
            let error = Invalid {
                field: "resource".to_owned(),
                problem: rejected.error,
            };
            self.stand_in(*unreadable_policy(&rejected.name, error, &root_namespace).stand_in);
        }
    }

    fn stand_in(&mut self, policy: super::AttachedPolicy) {
        let known = self.next.policies.get(policy.policy.name());
        if known.is_none_or(|known| known.policy.error().is_some()) {
            self.next.policies.insert(policy);
            self.dirty = true;
        }
    }

    fn settings(&mut self, update: Update) {
        self.keep_singletons(update.removed);
        for resource in update.resources {
            match decode_settings(&resource.name, &resource.body) {
                Ok(settings) => self.put_settings(settings),
                Err(error) => self.reject(resource.name, &error),
            }
        }
    }

    fn put_settings(&mut self, settings: Settings) {
        self.dirty = true;
        let old = std::mem::replace(&mut self.next.settings, Arc::new(settings));
        let settings = self.next.settings.clone();
        if settings.trust_domain != old.trust_domain {
            self.move_trust_domain(&settings.trust_domain);
        }
        if settings.root_namespace != old.root_namespace {
            let root_namespace = &settings.root_namespace;
            self.next
                .policies
                .attach_unknown(|name| attachment_by_name(name, root_namespace));
        }
    }

    fn move_trust_domain(&mut self, trust_domain: &str) {
        let workloads = self.next.workloads();
        let moved: Vec<_> = workloads
            .filter_map(|workload| with_trust_domain(self.interners, trust_domain, workload))
            .collect();
        for workload in moved {
            self.next.put_workload(&Arc::new(workload));
        }
    }

    fn trust_bundle(&mut self, update: Update, sender: &watch::Sender<Option<Arc<TrustRoots>>>) {
        self.keep_singletons(update.removed);
        for resource in update.resources {
            match decode_trust_bundle(&resource.name, &resource.body) {
                Ok(roots) => {
                    let roots = Some(Arc::new(roots));
                    sender.send_if_modified(|current| {
                        let changed = *current != roots;
                        *current = roots;
                        changed
                    });
                }
                Err(error) => self.reject(resource.name, &error),
            }
        }
    }

    /// Settings and roots are replaced, never removed: without them the data plane would no longer know which addresses
    /// are the cluster's own, or whom to trust.
    fn keep_singletons(&mut self, removed: Vec<Arc<str>>) {
        for name in removed {
            self.rejected.push(Rejected {
                name,
                error: "can be replaced and not removed".to_owned(),
            });
        }
    }
}
