//! Services.

use std::net::IpAddr;

use culvert_proto::istio::workload::{IpFamilies, LoadBalancing, Port, Service, load_balancing};

use super::finding::Finding;
use super::resource::{Message, Resource};
use super::{endpoints, names, waypoint};
use crate::model::{Family, Obj, Preference, Service as Spec, TargetPort};
use crate::world::{Consumer, World};

/// The record of a service; none of one that is but another name.
#[must_use]
pub fn of(world: &World, service: &Obj<Spec>) -> (Option<Resource>, Vec<Finding>) {
    let (name, spec) = (&service.meta.name, &service.spec);
    if spec.external_name {
        return (None, Vec::new());
    }
    let (through, finding) = waypoint::of(world, &Consumer::Service(name.clone()));
    let port = |port: &crate::model::ServicePort| Port {
        service_port: port.port.into(),
        target_port: match port.target {
            TargetPort::Number(number) => number.into(),
            // As each workload says.
            TargetPort::Name(_) => 0,
        },
        app_protocol: endpoints::app_protocol(port.protocol),
    };
    let record = Service {
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        hostname: names::hostname(&world.settings, name),
        addresses: spec
            .vips
            .iter()
            .copied()
            .map(names::network_address)
            .collect(),
        ports: spec.ports.iter().map(port).collect(),
        waypoint: through.address(),
        load_balancing: load_balancing(spec),
        ip_families: families(spec).into(),
        // Whatever else claims its name or address.
        canonical: true,
        ..Service::default()
    };
    let resource = Resource {
        name: names::service(&world.settings, name).into(),
        aliases: spec
            .vips
            .iter()
            .map(|address| format!("/{address}"))
            .collect(),
        message: Message::Service(Box::new(record)),
    };
    (Some(resource), finding.into_iter().collect())
}

fn families(spec: &Spec) -> IpFamilies {
    let v4 = spec.vips.iter().any(IpAddr::is_ipv4) || spec.families.contains(&Family::V4);
    let v6 = spec.vips.iter().any(IpAddr::is_ipv6) || spec.families.contains(&Family::V6);
    match (v4, v6) {
        (true, true) => IpFamilies::Dual,
        (true, false) => IpFamilies::Ipv4Only,
        (false, true) => IpFamilies::Ipv6Only,
        (false, false) => IpFamilies::Automatic,
    }
}

fn load_balancing(spec: &Spec) -> Option<LoadBalancing> {
    use load_balancing::{HealthPolicy, Mode, Scope};
    let (scopes, mode) = match spec.preference {
        Preference::None => (Vec::new(), Mode::UnspecifiedMode),
        Preference::SameZone => (vec![Scope::Region, Scope::Zone], Mode::Failover),
        Preference::SameNode => (
            vec![Scope::Region, Scope::Zone, Scope::Node],
            Mode::Failover,
        ),
        Preference::OnlyNode => (vec![Scope::Node], Mode::Strict),
    };
    let health = if spec.publish_not_ready {
        HealthPolicy::AllowAll
    } else {
        HealthPolicy::OnlyHealthy
    };
    let record = LoadBalancing {
        routing_preference: scopes.into_iter().map(Into::into).collect(),
        mode: mode.into(),
        health_policy: health.into(),
        client_affinity: spec.client_affinity,
    };
    (record != LoadBalancing::default()).then_some(record)
}
