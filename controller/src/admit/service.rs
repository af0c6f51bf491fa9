//! Services.

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{address, port};
use crate::model::{AppProtocol, Family, Preference, Service, ServicePort, TargetPort};
use crate::path::{FieldPath, Issues};

pub(super) fn admit(service: &v1::Service, issues: &mut Issues) -> Service {
    let spec = service.spec.clone().unwrap_or_default();
    Service {
        vips: addresses(&spec, issues),
        ports: ports(&spec, issues),
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        preference: preference(&spec, issues),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        client_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
        families: families(&spec),
        selector: spec.selector,
    }
}

fn families(spec: &v1::ServiceSpec) -> Vec<Family> {
    let named = spec.ip_families.iter().flatten();
    named
        .filter_map(|name| match name.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect()
}

fn addresses(spec: &v1::ServiceSpec, issues: &mut Issues) -> Vec<IpAddr> {
    let at = FieldPath::of("spec.clusterIPs");
    let mut vips = Vec::new();
    let listed = spec.cluster_ips.iter().flatten().enumerate();
    for (i, ip) in listed.filter(|(_, ip)| ip.as_str() != "None") {
        vips.extend(issues.take(&at.index(i), address(ip)));
    }
    let at = FieldPath::of("spec.clusterIP");
    let first = spec
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None");
    if let Some(first) = first.and_then(|ip| issues.take(&at, address(ip))) {
        match vips.first() {
            None => vips.push(first),
            Some(listed) if *listed != first => {
                issues.add(
                    at,
                    format!("{first} is not the first of clusterIPs, which is {listed}"),
                );
            }
            Some(_) => {}
        }
    }
    vips
}

fn ports(spec: &v1::ServiceSpec, issues: &mut Issues) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (i, p) in spec.ports.iter().flatten().enumerate() {
        let at = FieldPath::of("spec.ports").index(i);
        let Some(number) = issues.take(&at.key("port"), port(p.port)) else {
            continue;
        };
        let target = match &p.target_port {
            None | Some(IntOrString::Int(0)) => Some(TargetPort::Number(number)),
            Some(IntOrString::Int(n)) => issues
                .take(&at.key("targetPort"), port(*n))
                .map(TargetPort::Number),
            Some(IntOrString::String(name)) => Some(TargetPort::Name(name.clone())),
        };
        match p.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => {}
            "UDP" | "SCTP" => continue,
            other => issues.add(
                at.key("protocol"),
                format!("{other:?} is none of TCP, UDP, SCTP"),
            ),
        }
        let name = p.name.clone().unwrap_or_default();
        if ports.iter().any(|other| other.port == number) {
            issues.add(at.key("port"), format!("port {number} stands twice"));
        }
        if ports.iter().any(|other| other.name == name) {
            issues.add(at.key("name"), format!("port name {name:?} stands twice"));
        }
        ports.extend(target.map(|target| ServicePort {
            protocol: AppProtocol::of(p.app_protocol.as_deref(), &name),
            name,
            port: number,
            target,
        }));
    }
    ports
}

fn preference(spec: &v1::ServiceSpec, issues: &mut Issues) -> Preference {
    match (
        spec.internal_traffic_policy.as_deref(),
        spec.traffic_distribution.as_deref(),
    ) {
        (Some("Local"), _) => Preference::OnlyNode,
        (_, Some("PreferClose" | "PreferSameZone")) => Preference::SameZone,
        (_, Some("PreferSameNode")) => Preference::SameNode,
        (_, None) => Preference::None,
        (_, Some(other)) => {
            let message =
                format!("{other:?} is none of PreferSameZone, PreferSameNode, PreferClose");
            issues.add(FieldPath::of("spec.trafficDistribution"), message);
            Preference::None
        }
    }
}
