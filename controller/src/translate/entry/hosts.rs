//! Which hosts an entry stands for, and who knows it by them.

use std::sync::Arc;

use super::older;
use crate::model::{Obj, ServiceEntry};
use crate::path::FieldPath;
use crate::translate::finding::{ConditionType, Findings};
use crate::world::World;

/// Whether a name is, or might be taken for, one of the cluster's own.
pub(super) fn is_clusters(world: &World, host: &str) -> bool {
    let domain = world.settings.cluster_domain();
    let under = host.strip_suffix(domain);
    under.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) || host.ends_with(".svc")
}

/// The hosts that are this entry's: no name of the cluster, and none that an older entry of its namespace has.
pub fn own_hosts<'a>(
    world: &'a World,
    entry: &'a Obj<ServiceEntry>,
) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
    let own = |host: &&Arc<str>| !is_clusters(world, host) && before(world, entry, host).is_none();
    entry.spec.hosts.iter().filter(own)
}

/// The same, each with whether the whole mesh knows it, and with what is wrong with the others.
pub(super) fn judged<'a>(
    world: &World,
    entry: &'a Obj<ServiceEntry>,
    findings: &mut Findings,
) -> Vec<(&'a Arc<str>, bool)> {
    let mut own = Vec::new();
    for (i, host) in entry.spec.hosts.iter().enumerate() {
        let at = FieldPath::of("spec.hosts").index(i);
        if is_clusters(world, host) {
            let message = format!("{host} is a name of the cluster, which only a Service has");
            findings.error(ConditionType::Accepted, "HostReserved", at, message);
        } else if let Some(other) = before(world, entry, host) {
            let message = format!("ServiceEntry {other} is older and has {host}");
            findings.error(ConditionType::Accepted, "HostConflict", at, message);
        } else {
            let exported = exported(world, entry, host, &at, findings);
            own.push((host, exported));
        }
    }
    if wants_export(world, entry) && !may_export(world, entry) {
        let message = format!(
            "the MeshConfig does not let namespace {} export: only its own clients know the entry",
            entry.meta.name.namespace
        );
        let at = FieldPath::of("spec.exportTo");
        findings.error(ConditionType::Accepted, "ExportNotAllowed", at, message);
    }
    own
}

/// The older entry of the same namespace that has a host.
fn before<'a>(
    world: &'a World,
    entry: &Obj<ServiceEntry>,
    host: &str,
) -> Option<&'a crate::model::NsName> {
    let namespace = &entry.meta.name.namespace;
    older(world, entry, world.index.entries_naming(host), |other| {
        other.meta.name.namespace == *namespace
    })
}

fn wants_export(world: &World, entry: &Obj<ServiceEntry>) -> bool {
    let root = *entry.meta.name.namespace == *world.settings.root_namespace();
    entry.spec.exported.unwrap_or(root)
}

fn may_export(world: &World, entry: &Obj<ServiceEntry>) -> bool {
    world.settings.may_export(&entry.meta.name.namespace)
}

fn is_exported(world: &World, entry: &Obj<ServiceEntry>) -> bool {
    wants_export(world, entry) && may_export(world, entry)
}

/// Whether the whole mesh knows an entry by a host: of several that would have the same host, or the same address, the
/// oldest.
fn exported(
    world: &World,
    entry: &Obj<ServiceEntry>,
    host: &str,
    at: &FieldPath,
    findings: &mut Findings,
) -> bool {
    if !is_exported(world, entry) {
        return false;
    }
    let mut conflict = |other: Option<&crate::model::NsName>, what: &str| {
        let Some(other) = other else { return false };
        let message = format!(
            "ServiceEntry {other} is older and exports {what}: only clients of this entry's namespace know it"
        );
        findings.error(
            ConditionType::Accepted,
            "ExportConflict",
            at.clone(),
            message,
        );
        true
    };
    let named = world.index.entries_naming(host);
    let other = older(world, entry, named, |other| {
        is_exported(world, other) && before(world, other, host).is_none()
    });
    if conflict(other, host) {
        return false;
    }
    entry.spec.addresses.iter().all(|address| {
        let at = world.index.entries_at(*address);
        let other = older(world, entry, at, |other| {
            is_exported(world, other) && other.spec.addresses.contains(address)
        });
        !conflict(other, &address.to_string())
    })
}
