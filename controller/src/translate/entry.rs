//! ServiceEntries: one service for each host, and one workload for each place where it is reached.
//!
//! Invariants: an entry has no effect on clients of other namespaces unless the MeshConfig lets its namespace have one;
//! it takes neither a name nor an address from the cluster, and leads nowhere in it; a waypoint that it asks for is never
//! passed by, whether or not one is there yet.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_proto::istio::workload::{
    Locality, Port, PortList, Service, Workload, WorkloadType, service::Visibility,
};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use super::waypoint::{self, Use};
use super::{endpoints, guard, names};
use crate::model::{
    EntryEndpoint, Key, Kind, NsName, Obj, Place, ServiceEntry, ServicePort, TargetPort,
};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

mod addresses;
mod hosts;

pub use addresses::{Wish, settle, wishes};
pub use hosts::own_hosts;

/// An entry's resources, and what is to be said of it.
#[must_use]
pub fn of(world: &World, entry: &Obj<ServiceEntry>) -> (Vec<Resource>, Vec<Finding>) {
    let name = &entry.meta.name;
    let mut findings = Findings::new(Key {
        kind: Kind::ServiceEntry,
        name: name.clone(),
    });
    let (through, finding) = waypoint::of(world, &Consumer::Entry(name.clone()));
    // What has no waypoint yet but asks for one waits for it.
    let waypoint = match &through {
        Use::Pending(gateway) => {
            let message = format!(
                "waypoint {gateway} does not serve the entry yet: its traffic is refused until it does"
            );
            let at = FieldPath::of("spec.hosts");
            findings.note(ConditionType::Programmed, "WaypointPending", at, message);
            Some(names::unreachable_gateway(gateway))
        }
        // Whom a policy keeps out is told so by a waypoint, and by nobody else.
        Use::None if guard::has_policy(world, name, "ServiceEntry") => {
            Some(names::unreachable_gateway(name))
        }
        through => through.address(),
    };
    let mut resources = Vec::new();
    let mut served: Vec<&Arc<str>> = Vec::new();
    let own = addresses::own(world, entry, &mut findings);
    for (host, exported) in hosts::judged(world, entry, &mut findings) {
        let vips = match &own {
            Some(own) => own.clone(),
            None => addresses::given(world, entry, host),
        };
        if vips.is_empty() {
            if own.is_none() {
                let message = format!("{host} has no address yet: it does not resolve");
                let at = FieldPath::of("spec.hosts");
                findings.note(ConditionType::Programmed, "AddressPending", at, message);
            }
            continue;
        }
        let visibility = if exported {
            Visibility::Public
        } else {
            Visibility::Namespace
        };
        let record = Service {
            name: name.name.to_string(),
            namespace: name.namespace.to_string(),
            hostname: host.to_string(),
            addresses: vips.into_iter().map(names::network_address).collect(),
            ports: entry.spec.ports.iter().map(service_port).collect(),
            waypoint: waypoint.clone(),
            visibility: visibility.into(),
            external: true,
            ..Service::default()
        };
        resources.push(Resource {
            name: names::entry(&name.namespace, host).into(),
            aliases: Vec::new(),
            message: Message::Service(Box::new(record)),
        });
        served.push(host);
    }
    resources.extend(workloads(world, entry, &served, &mut findings));
    let mut findings = findings.into_vec();
    findings.extend(finding);
    (resources, findings)
}

fn service_port(port: &ServicePort) -> Port {
    Port {
        service_port: port.port.into(),
        target_port: target(port).into(),
        app_protocol: endpoints::app_protocol(port.protocol),
    }
}

fn target(port: &ServicePort) -> u16 {
    match port.target {
        TargetPort::Number(number) => number,
        // An entry's ports have numbers alone.
        TargetPort::Name(_) => port.port,
    }
}

/// One for each endpoint, of all hosts; without endpoints one for each host.
fn workloads(
    world: &World,
    entry: &Obj<ServiceEntry>,
    served: &[&Arc<str>],
    findings: &mut Findings,
) -> Vec<Resource> {
    let mut made = Vec::new();
    if entry.spec.endpoints.is_empty() {
        for host in served {
            let endpoint = EntryEndpoint {
                place: Place::Name((*host).clone()),
                ports: std::collections::BTreeMap::new(),
                locality: Vec::new(),
                weight: 1,
            };
            made.push(workload(world, entry, &[host], &endpoint));
        }
        return made;
    }
    for (i, endpoint) in entry.spec.endpoints.iter().enumerate() {
        if let Some(message) = inside(world, &endpoint.place) {
            let at = FieldPath::of("spec.endpoints").index(i).key("address");
            findings.error(ConditionType::Accepted, "EndpointInCluster", at, message);
        } else if !served.is_empty() {
            made.push(workload(world, entry, served, endpoint));
        }
    }
    made
}

/// Why a place cannot be an endpoint, if it is not outside of the cluster.
fn inside(world: &World, place: &Place) -> Option<String> {
    match place {
        Place::Address(ip) if is_clusters(world, *ip) => Some(format!(
            "{ip} is an address of the cluster, in which a Service leads to what is there"
        )),
        Place::Name(name) if hosts::is_clusters(world, name) => Some(format!(
            "{name} is a name of the cluster, in which a Service leads to what is there"
        )),
        _ => None,
    }
}

/// Whether an address is the cluster's, or one that the mesh gives to hosts.
fn is_clusters(world: &World, ip: IpAddr) -> bool {
    let mut ranges = world.settings.entry_ranges();
    world.settings.in_cluster(ip)
        || world.index.is_known(ip)
        || ranges.any(|range| range.contains(&ip))
}

fn workload(
    world: &World,
    entry: &Obj<ServiceEntry>,
    served: &[&Arc<str>],
    endpoint: &EntryEndpoint,
) -> Resource {
    let name = &entry.meta.name;
    let port = |port: &ServicePort| Port {
        service_port: port.port.into(),
        target_port: endpoint
            .ports
            .get(&port.name)
            .copied()
            .unwrap_or_else(|| target(port))
            .into(),
        app_protocol: endpoints::app_protocol(port.protocol),
    };
    let ports = PortList {
        ports: entry.spec.ports.iter().map(port).collect(),
    };
    let bound = |host: &&Arc<str>| (names::entry(&name.namespace, host), ports.clone());
    let uid = names::entry_uid(&world.settings, name, &endpoint.place);
    let place = endpoint.place.to_string();
    let (addresses, hostname) = match &endpoint.place {
        Place::Address(ip) => (vec![names::address_bytes(*ip)], String::new()),
        Place::Name(name) => (Vec::new(), name.to_string()),
    };
    let record = Workload {
        uid: uid.clone(),
        name: place,
        namespace: name.namespace.to_string(),
        addresses,
        hostname,
        trust_domain: world.settings.trust_domain().to_owned(),
        service_account: "default".into(),
        canonical_name: name.name.to_string(),
        canonical_revision: "latest".into(),
        workload_name: name.name.to_string(),
        workload_type: WorkloadType::Pod.into(),
        cluster_id: world.settings.cluster_id().to_owned(),
        services: served.iter().map(bound).collect(),
        locality: locality(&endpoint.locality),
        capacity: (endpoint.weight != 1).then_some(endpoint.weight),
        external: true,
        ..Workload::default()
    };
    Resource {
        name: uid.into(),
        aliases: Vec::new(),
        message: Message::Workload(Box::new(record)),
    }
}

fn locality(parts: &[String]) -> Option<Locality> {
    let part = |i: usize| parts.get(i).cloned().unwrap_or_default();
    let locality = Locality {
        region: part(0),
        zone: part(1),
        subzone: part(2),
    };
    (locality != Locality::default()).then_some(locality)
}

/// The older of two entries counts.
fn older<'a>(
    world: &'a World,
    entry: &Obj<ServiceEntry>,
    others: impl Iterator<Item = &'a NsName>,
    counts: impl Fn(&Obj<ServiceEntry>) -> bool,
) -> Option<&'a NsName> {
    let others = others.filter_map(|name| world.cache.entries.get(name));
    others
        .filter(|other| other.meta.seniority() < entry.meta.seniority() && counts(other))
        .map(|other| &other.meta.name)
        .next()
}

#[cfg(test)]
mod tests;
