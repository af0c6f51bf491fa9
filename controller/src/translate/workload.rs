//! Workloads: pods, and endpoints that are no pods.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_proto::istio::workload::{
    Locality, NetworkMode, TunnelProtocol, Workload, WorkloadStatus, WorkloadType,
};

use super::finding::{ConditionType, Finding, Findings};
use super::guard::{self, Guard};
use super::resource::{Message, Resource};
use super::{authorization, egress, endpoints, enrolment, names, peer_authentication, waypoint};
use crate::model::{Key, Kind, Meta, Obj, Owner, Pod};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const CANONICAL_NAME: [&str; 3] = [
    "service.istio.io/canonical-name",
    "app.kubernetes.io/name",
    "app",
];
const CANONICAL_REVISION: [&str; 3] = [
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
];

/// A pod's record, and what it needs besides.
#[derive(Debug, Default)]
pub struct Translated {
    /// None without an address of its own.
    pub resource: Option<Resource>,
    /// The policy that keeps others than its waypoint out, which the record names.
    pub guard: Option<Guard>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// The record of a pod.
#[must_use]
pub fn of_pod(world: &World, pod: &Obj<Pod>) -> Translated {
    let mut findings = shared_addresses(world, pod);
    let addresses = enrolment::addresses(world, pod);
    if addresses.is_empty() {
        return Translated {
            findings,
            ..Translated::default()
        };
    }
    let (meta, spec) = (&pod.meta, &pod.spec);
    let enrolled = enrolment::is_enrolled(world, pod);
    let services = endpoints::services_of(world, pod);
    let (through, finding) = waypoint::of(world, &Consumer::Pod(meta.name.clone()));
    findings.extend(finding);
    let (mut policies, mut egress_policies) = (Vec::new(), Vec::new());
    let guard = guard::of(world, pod, services.keys()).filter(|_| enrolled);
    if enrolled {
        policies.extend(peer_authentication::policy_of(world, pod));
        policies.extend(authorization::policies_of(world, pod));
        policies.extend(guard.as_ref().map(Guard::name));
        egress_policies = egress::policies_of(world, pod);
    }
    let (workload_name, workload_type) = origin(&meta.name.name, spec.owner.as_ref());
    let hbone =
        waypoint::is_instance(world, pod) || (enrolled && world.capture.is_hbone(&meta.name));
    let labelled = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| meta.label(key))
            .map(str::to_owned)
    };
    let workload = Workload {
        uid: names::pod_uid(&world.settings, &meta.name),
        name: meta.name.name.to_string(),
        namespace: meta.name.namespace.to_string(),
        addresses: addresses
            .iter()
            .copied()
            .map(names::address_bytes)
            .collect(),
        tunnel_protocol: if hbone {
            TunnelProtocol::Hbone
        } else {
            TunnelProtocol::None
        }
        .into(),
        trust_domain: world.settings.trust_domain().to_owned(),
        service_account: spec.service_account.clone(),
        waypoint: through.address(),
        node: spec.node.to_string(),
        canonical_name: labelled(&CANONICAL_NAME).unwrap_or_else(|| workload_name.clone()),
        canonical_revision: labelled(&CANONICAL_REVISION).unwrap_or_else(|| "latest".into()),
        workload_name,
        workload_type: workload_type.into(),
        authorization_policies: policies,
        egress_policies,
        status: if spec.ready {
            WorkloadStatus::Healthy
        } else {
            WorkloadStatus::Unhealthy
        }
        .into(),
        cluster_id: world.settings.cluster_id().to_owned(),
        services: endpoints::named(world, services),
        locality: locality(world, &spec.node),
        network_mode: if spec.host_network {
            NetworkMode::HostNetwork
        } else {
            NetworkMode::Standard
        }
        .into(),
        ..Workload::default()
    };
    Translated {
        resource: Some(resource(workload, &addresses)),
        guard,
        findings,
    }
}

/// The record of an address that slices of a namespace list and that is no pod; none where no slice does any more.
#[must_use]
pub fn of_endpoint(world: &World, namespace: &Arc<str>, address: IpAddr) -> Option<Resource> {
    let known = world.index.pods_at(address).next().is_some()
        || world.index.gateways_at(address).next().is_some();
    let services = endpoints::services_at(world, namespace, address);
    if known || services.is_empty() {
        return None;
    }
    let name = address.to_string();
    let workload = Workload {
        uid: names::endpoint_uid(&world.settings, namespace, address),
        name: name.clone(),
        namespace: namespace.to_string(),
        addresses: vec![names::address_bytes(address)],
        trust_domain: world.settings.trust_domain().to_owned(),
        service_account: "default".into(),
        canonical_name: name.clone(),
        canonical_revision: "latest".into(),
        workload_name: name,
        workload_type: WorkloadType::Pod.into(),
        cluster_id: world.settings.cluster_id().to_owned(),
        services: endpoints::named(world, services),
        ..Workload::default()
    };
    Some(resource(workload, &[address]))
}

pub(super) fn resource(workload: Workload, addresses: &[IpAddr]) -> Resource {
    Resource {
        name: workload.uid.as_str().into(),
        aliases: addresses
            .iter()
            .map(|address| format!("/{address}"))
            .collect(),
        message: Message::Workload(Box::new(workload)),
    }
}

fn shared_addresses(world: &World, pod: &Obj<Pod>) -> Vec<Finding> {
    let mut findings = Findings::new(key(&pod.meta));
    if pod.spec.host_network || pod.spec.ended {
        return Vec::new();
    }
    for address in &pod.spec.addresses {
        if world.holder(*address).is_some() {
            continue;
        }
        if let Some(other) = world
            .index
            .pods_at(*address)
            .find(|name| **name != pod.meta.name)
        {
            let message = format!("Pod {other} has {address} too; neither is served under it");
            findings.error(
                ConditionType::Accepted,
                "AddressConflict",
                FieldPath::of("status.podIP"),
                message,
            );
        }
    }
    findings.into_vec()
}

fn key(meta: &Meta) -> Key {
    Key {
        kind: Kind::Pod,
        name: meta.name.clone(),
    }
}

/// What made the pod, as people know it: the Deployment behind a ReplicaSet, the CronJob behind a Job.
fn origin(pod: &str, owner: Option<&Owner>) -> (String, WorkloadType) {
    let Some(Owner { kind, name }) = owner else {
        return (pod.to_owned(), WorkloadType::Pod);
    };
    let stem = || {
        name.rsplit_once('-')
            .map_or(name.as_str(), |(stem, _)| stem)
            .to_owned()
    };
    let scheduled = name
        .rsplit_once('-')
        .is_some_and(|(_, minute)| minute.len() >= 8 && minute.bytes().all(|b| b.is_ascii_digit()));
    match kind.as_str() {
        "ReplicaSet" => (stem(), WorkloadType::Deployment),
        "Job" if scheduled => (stem(), WorkloadType::Cronjob),
        "Job" => (name.clone(), WorkloadType::Job),
        _ => (name.clone(), WorkloadType::Deployment),
    }
}

fn locality(world: &World, node: &str) -> Option<Locality> {
    let meta = &world.cache.nodes.find("", node)?.meta;
    let label = |key| meta.label(key).unwrap_or_default().to_owned();
    let locality = Locality {
        region: label(REGION),
        zone: label(ZONE),
        subzone: label(SUBZONE),
    };
    (locality != Locality::default()).then_some(locality)
}

#[cfg(test)]
mod tests;
