//! One update on its way into the next snapshot: decode, validate, put.
//!
//! Invariant: a resource that fails changes nothing, except that a policy of which no good version is known is put in
//! the closed form that stands in for it.

use std::sync::Arc;

use culvert_proto::istio::workload::{Address, address};
use culvert_proto::type_url;
use prost::Message as _;

use super::AttachedPolicy;
use super::decode::{
    Invalid, attachment_by_name, decode_egress_policy, decode_policy, decode_service,
    decode_settings, decode_trust_bundle, decode_workload, unreadable_policy, with_trust_domain,
};
use super::intern::Interners;
use super::settings::{Settings, TrustRoots};
use super::snapshot::Snapshot;
use crate::handler::{Rejected, Resource, Update, reject_all};

/// What an update comes to.
#[derive(Debug)]
pub(super) struct Written {
    /// The next snapshot, if it differs from the last.
    pub(super) snapshot: Option<Snapshot>,
    /// Roots of trust, if some were sent.
    pub(super) trust_roots: Option<TrustRoots>,
    /// It is known now what there is of the type.
    pub(super) synced: bool,
    /// What was not applied.
    pub(super) rejected: Vec<Rejected>,
}

/// Applies an update of one of the store's types to a copy of the current snapshot.
pub(super) fn write(
    current: &Snapshot,
    interners: &mut Interners,
    type_url: &str,
    update: Update,
) -> Written {
    let mut writer = Writer {
        next: current.clone(),
        interners,
        dirty: false,
        trust_roots: None,
        synced: matches!(
            type_url,
            type_url::ADDRESS | type_url::AUTHORIZATION | type_url::EGRESS_POLICY
        ),
        rejected: Vec::new(),
    };
    match type_url {
        type_url::ADDRESS => writer.addresses(update),
        type_url::AUTHORIZATION => writer.policies(update),
        type_url::EGRESS_POLICY => writer.egress_policies(update),
        type_url::MESH_SETTINGS => writer.settings(update),
        type_url::TRUST_BUNDLE => writer.trust_bundle(update),
        _ => writer.rejected = reject_all(update, "the store does not handle this type"),
    }
    writer.next.version += u64::from(writer.dirty);
    Written {
        snapshot: writer.dirty.then_some(writer.next),
        synced: writer.synced,
        trust_roots: writer.trust_roots,
        rejected: writer.rejected,
    }
}

struct Writer<'a> {
    next: Snapshot,
    interners: &'a mut Interners,
    dirty: bool,
    trust_roots: Option<TrustRoots>,
    synced: bool,
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

    /// One that was never good is unknown, and who names it reaches nothing outside of the mesh.
    fn egress_policies(&mut self, update: Update) {
        for name in update.removed {
            self.next.egress.remove(&name);
            self.dirty = true;
        }
        for resource in update.resources {
            match decode_egress_policy(&resource.name, &resource.body) {
                Ok(policy) => {
                    self.next.egress.insert(resource.name, Arc::new(policy));
                    self.dirty = true;
                }
                Err(error) => self.reject(resource.name, &error),
            }
        }
    }

    fn stand_in(&mut self, policy: AttachedPolicy) {
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
        self.synced = true;
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

    fn trust_bundle(&mut self, update: Update) {
        self.keep_singletons(update.removed);
        for resource in update.resources {
            match decode_trust_bundle(&resource.name, &resource.body) {
                Ok(roots) => {
                    self.trust_roots = Some(roots);
                    self.synced = true;
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
