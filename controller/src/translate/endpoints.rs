//! Which services a pod or address is an endpoint of, and at which ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use culvert_proto::istio::workload::{Port, PortList};

use super::names;
use crate::model::{AppProtocol, NsName, Obj, Pod, Service, ServicePort, TargetPort};
use crate::world::World;

/// The protocol of a port as the wire has it.
#[must_use]
pub fn app_protocol(protocol: AppProtocol) -> i32 {
    use culvert_proto::istio::workload::AppProtocol as Wire;
    let wire = match protocol {
        AppProtocol::Unknown => Wire::Unknown,
        AppProtocol::Http1 => Wire::Http11,
        AppProtocol::Http2 => Wire::Http2,
        AppProtocol::Grpc => Wire::Grpc,
        AppProtocol::Tcp => Wire::Tcp,
        AppProtocol::Tls => Wire::Tls,
    };
    wire.into()
}

/// Services of which a pod is an endpoint. Where slices list the endpoints, they alone count; otherwise the selector does.
/// A pod that is being deleted is an endpoint where a slice still lists it, as for kube-proxy.
#[must_use]
pub fn services_of(world: &World, pod: &Obj<Pod>) -> BTreeMap<NsName, PortList> {
    let mut services = BTreeMap::new();
    if pod.spec.ended {
        return services;
    }
    let namespace = &pod.meta.name.namespace;
    let mut slices: BTreeSet<&NsName> = world.index.slices_of(&pod.meta.name).collect();
    for address in &pod.spec.addresses {
        slices.extend(world.index.slices_at(namespace, *address));
    }
    let mut listed: BTreeMap<NsName, Vec<&NsName>> = BTreeMap::new();
    for slice in slices {
        if let Some(object) = world.cache.slices.get(slice) {
            let service = NsName::new(namespace.clone(), object.spec.service.as_str());
            listed.entry(service).or_default().push(slice);
        }
    }
    let candidates = listed.keys().chain(world.index.unlisted(namespace));
    for name in candidates {
        let Some(service) = world.cache.services.get(name) else {
            continue;
        };
        let ports = if service.spec.external_name {
            continue;
        } else if let Some(slices) = listed.get(name) {
            slice_ports(world, &service.spec, slices)
        } else if !pod.meta.deleting && service.spec.selects(&pod.meta.labels) {
            service
                .spec
                .ports
                .iter()
                .filter_map(|port| pod_port(port, &pod.spec))
                .collect()
        } else {
            continue;
        };
        services.insert(name.clone(), PortList { ports });
    }
    services
}

/// Services of which an address that is no pod is an endpoint.
#[must_use]
pub fn services_at(
    world: &World,
    namespace: &Arc<str>,
    address: IpAddr,
) -> BTreeMap<NsName, PortList> {
    let mut by_service: BTreeMap<NsName, Vec<&NsName>> = BTreeMap::new();
    for slice in world.index.slices_at(namespace, address) {
        if let Some(object) = world.cache.slices.get(slice) {
            let service = NsName::new(namespace.clone(), object.spec.service.as_str());
            by_service.entry(service).or_default().push(slice);
        }
    }
    let ports = |(name, slices): (NsName, Vec<&NsName>)| {
        let service = world
            .cache
            .services
            .get(&name)
            .filter(|service| !service.spec.external_name)?;
        let ports = slice_ports(world, &service.spec, &slices);
        Some((name, PortList { ports }))
    };
    by_service.into_iter().filter_map(ports).collect()
}

/// By their wire names, as a workload's record has them.
#[must_use]
pub fn named(world: &World, services: BTreeMap<NsName, PortList>) -> BTreeMap<String, PortList> {
    let wire = |(name, ports)| (names::service(&world.settings, &name), ports);
    services.into_iter().map(wire).collect()
}

fn slice_ports(world: &World, service: &Service, slices: &[&NsName]) -> Vec<Port> {
    let mut ports = Vec::new();
    for port in &service.ports {
        let objects = slices
            .iter()
            .filter_map(|name| world.cache.slices.get(name));
        let mut targets = objects.flat_map(|slice| &slice.spec.ports);
        if let Some((_, target)) = targets.find(|(name, _)| *name == port.name) {
            ports.push(wire(port, *target));
        }
    }
    ports
}

fn pod_port(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let target = match &port.target {
        TargetPort::Number(number) => *number,
        TargetPort::Name(name) => *pod.ports.get(name)?,
    };
    Some(wire(port, target))
}

fn wire(port: &ServicePort, target: u16) -> Port {
    Port {
        service_port: port.port.into(),
        target_port: target.into(),
        app_protocol: app_protocol(port.protocol),
    }
}
