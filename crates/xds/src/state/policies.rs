//! The policies of a snapshot, what each applies to, and the compiled set of each kind of workload.
//!
//! Workloads of one namespace that name the same policies share one [`PolicySet`], compiled when it is first asked for
//! and thrown away when a policy changes that could be in it. No other change touches it.

mod entries;

use std::sync::{Arc, OnceLock};

use culvert_policy::{Policy, PolicySet};
use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use self::entries::{Broad, MESH, Naming, SetKey, SetRef, Targeting};
use super::index::group;
use super::workload::Workload;

/// A policy and what it applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachedPolicy {
    /// The policy.
    #[serde(flatten)]
    pub policy: Arc<Policy>,
    /// What it applies to, besides the workloads that name it.
    pub attachment: Attachment,
    /// It could not be read so far as to know whether it is for services, so it applies to those of its namespace.
    pub covers_services: bool,
}

/// What a policy applies to, besides the workloads that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// Every workload.
    Mesh,
    /// Every workload of a namespace.
    Namespace(Arc<str>),
    /// Only the workloads that name it.
    Selected,
    /// Services, at their waypoint.
    Services(Box<[ServiceTarget]>),
}

/// A service, or one port of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ServiceTarget {
    /// `NAMESPACE/HOSTNAME`.
    pub service: Arc<str>,
    /// The service's port; `None` for all.
    pub port: Option<u16>,
}

/// A policy that a workload names is not known. What the workload admits is then not known either, so it admits
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {name} is not known")]
pub struct MissingPolicy {
    /// The policy's `NAMESPACE/NAME`.
    pub name: Arc<str>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PolicyBook {
    by_name: OrdMap<Arc<str>, Arc<AttachedPolicy>>,
    /// Those for a namespace, or for the mesh.
    broad: OrdSet<Broad>,
    targeting: OrdSet<Targeting>,
    /// Those of which it is not known whether they are for services.
    covering: OrdSet<Arc<str>>,
    sets: OrdMap<SetKey, SharedSet>,
    naming: OrdSet<Naming>,
    at_services: OrdMap<Arc<str>, Arc<ServiceSets>>,
}

/// One compiled set and how many workloads have it.
#[derive(Clone, Debug, Default)]
struct SharedSet {
    workloads: usize,
    compiled: Arc<OnceLock<Result<PolicySet, MissingPolicy>>>,
}

/// The sets of a service by port.
#[derive(Debug)]
struct ServiceSets {
    by_port: Vec<(u16, PolicySet)>,
    other_ports: PolicySet,
}

impl ServiceSets {
    fn of_port(&self, port: u16) -> &PolicySet {
        let own = self.by_port.iter().find(|(known, _)| *known == port);
        own.map_or(&self.other_ports, |(_, set)| set)
    }
}

impl PolicyBook {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<AttachedPolicy>> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<AttachedPolicy>> {
        self.by_name.values()
    }

    /// Adds a policy in place of the one with the same name.
    pub(super) fn insert(&mut self, attached: AttachedPolicy) {
        let name = attached.policy.name().clone();
        self.remove(&name);
        let attached = Arc::new(attached);
        let policy = &attached.policy;
        match &attached.attachment {
            Attachment::Mesh | Attachment::Namespace(_) => {
                self.broad.insert(Broad::of(&attached));
            }
            Attachment::Selected => {}
            Attachment::Services(targets) => {
                for target in targets {
                    self.targeting.insert(Targeting {
                        target: target.clone(),
                        policy: policy.clone(),
                    });
                }
            }
        }
        if attached.covers_services {
            self.covering.insert(name.clone());
        }
        self.by_name.insert(name, attached.clone());
        self.forget_compiled(&attached);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(attached) = self.by_name.remove(name) else {
            return;
        };
        self.covering.remove(name);
        match &attached.attachment {
            Attachment::Mesh | Attachment::Namespace(_) => {
                self.broad.remove(&Broad::of(&attached));
            }
            Attachment::Selected => {}
            Attachment::Services(targets) => {
                for target in targets {
                    self.targeting.remove(&Targeting {
                        target: target.clone(),
                        policy: attached.policy.clone(),
                    });
                }
            }
        }
        self.forget_compiled(&attached);
    }

    /// Attaches anew what stands in for policies of which only the name is known.
    pub(super) fn attach_unknown(&mut self, attachment: impl Fn(&str) -> Attachment) {
        let unknown: Vec<_> = self.covering.iter().cloned().collect();
        for name in unknown {
            if let Some(attached) = self.by_name.get(&name) {
                self.insert(AttachedPolicy {
                    attachment: attachment(&name),
                    ..AttachedPolicy::clone(attached)
                });
            }
        }
    }

    /// A workload is there that needs a set.
    pub(super) fn add_workload(&mut self, workload: &Workload) {
        let key = SetKey::of(workload);
        if let Some(set) = self.sets.get_mut(&key) {
            set.workloads += 1;
            return;
        }
        for policy in &*key.names {
            self.naming.insert(Naming {
                policy: policy.clone(),
                key: key.clone(),
            });
        }
        let set = SharedSet {
            workloads: 1,
            ..SharedSet::default()
        };
        self.sets.insert(key, set);
    }

    /// A workload is gone; the last one of a set takes it along.
    pub(super) fn remove_workload(&mut self, workload: &Workload) {
        let key = SetKey::of(workload);
        let Some(set) = self.sets.get_mut(&key) else {
            return;
        };
        set.workloads -= 1;
        if set.workloads > 0 {
            return;
        }
        self.sets.remove(&key);
        for policy in &*key.names {
            self.naming.remove(&Naming {
                policy: policy.clone(),
                key: key.clone(),
            });
        }
    }

    /// The policies that apply to a workload.
    pub(super) fn for_workload(&self, workload: &Workload) -> Result<PolicySet, MissingPolicy> {
        let (namespace, names) = (&**workload.namespace(), &**workload.policies());
        match self.sets.get(&SetRef { namespace, names }) {
            Some(set) => set
                .compiled
                .get_or_init(|| self.compile(namespace, names))
                .clone(),
            None => self.compile(namespace, names),
        }
    }

    /// The policies that apply to a port of a service, at its waypoint.
    pub(super) fn for_service(&self, service: &str, port: u16) -> PolicySet {
        let targeting = self.at_services.get(service).map(|sets| sets.of_port(port));
        let targeting = targeting.cloned().unwrap_or_default();
        if self.covering.is_empty() {
            return targeting;
        }
        let namespace = service
            .split_once('/')
            .map_or("", |(namespace, _)| namespace);
        let covering = self
            .covering
            .iter()
            .filter_map(|name| self.by_name.get(name));
        let covering = covering.filter(|attached| match &attached.attachment {
            Attachment::Namespace(covered) => **covered == *namespace,
            _ => true,
        });
        let covering = covering.map(|attached| attached.policy.clone());
        targeting.iter().cloned().chain(covering).collect()
    }

    fn compile(&self, namespace: &str, names: &[Arc<str>]) -> Result<PolicySet, MissingPolicy> {
        let named = names.iter().map(|name| match self.by_name.get(name) {
            Some(attached) => Ok(attached.policy.clone()),
            None => Err(MissingPolicy { name: name.clone() }),
        });
        let broad = group(&self.broad, MESH).chain(group(&self.broad, namespace));
        named
            .chain(broad.map(|broad| Ok(broad.policy.clone())))
            .collect()
    }

    /// A policy came or went: whatever could contain it is compiled anew.
    fn forget_compiled(&mut self, attached: &AttachedPolicy) {
        let named = group(&self.naming, &**attached.policy.name()).map(|naming| naming.key.clone());
        let mut stale: Vec<SetKey> = named.collect();
        match &attached.attachment {
            Attachment::Mesh => stale = self.sets.keys().cloned().collect(),
            Attachment::Namespace(namespace) => stale.extend(self.sets_of(namespace)),
            Attachment::Selected => {}
            Attachment::Services(targets) => {
                let mut targets = targets.iter().map(|t| &t.service).collect::<Vec<_>>();
                targets.dedup();
                for service in targets {
                    self.compile_service(service);
                }
            }
        }
        for key in stale {
            if let Some(set) = self.sets.get_mut(&key) {
                set.compiled = Arc::default();
            }
        }
    }

    fn sets_of(&self, namespace: &str) -> impl Iterator<Item = SetKey> {
        let first = SetRef {
            namespace,
            names: &[],
        };
        let keys = self.sets.range(first..).map(|(key, _)| key);
        keys.take_while(move |key| &*key.namespace == namespace)
            .cloned()
    }

    fn compile_service(&mut self, service: &Arc<str>) {
        let targeting: Vec<_> = group(&self.targeting, &**service).collect();
        if targeting.is_empty() {
            self.at_services.remove(service);
            return;
        }
        let set = |port: Option<u16>| -> PolicySet {
            let applies = |t: &&&Targeting| t.target.port.is_none() || t.target.port == port;
            targeting
                .iter()
                .filter(applies)
                .map(|t| t.policy.clone())
                .collect()
        };
        let mut ports: Vec<u16> = targeting.iter().filter_map(|t| t.target.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let sets = ServiceSets {
            by_port: ports
                .into_iter()
                .map(|port| (port, set(Some(port))))
                .collect(),
            other_ports: set(None),
        };
        self.at_services.insert(service.clone(), Arc::new(sets));
    }
}
