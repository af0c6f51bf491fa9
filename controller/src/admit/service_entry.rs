//! ServiceEntries.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::names::{address, dns_label, dns_subdomain};
use crate::api::{EntryEndpoint, EntryPort, Location, Resolution, ServiceEntrySpec};
use crate::model::{self, AppProtocol, Place, ServiceEntry, ServicePort, TargetPort};
use crate::path::{FieldPath, Issues};

const MAX_WEIGHT: u32 = 1_000_000;
/// What a port's `protocol` may be, and what is spoken then.
const PROTOCOLS: [(&str, AppProtocol); 8] = [
    ("HTTP", AppProtocol::Http1),
    ("HTTP2", AppProtocol::Http2),
    ("GRPC", AppProtocol::Grpc),
    ("GRPC-WEB", AppProtocol::Grpc),
    ("HTTPS", AppProtocol::Tls),
    ("TLS", AppProtocol::Tls),
    ("TCP", AppProtocol::Tcp),
    ("MONGO", AppProtocol::Tcp),
];

/// What a spec says, and what the status says that was given to it.
pub(super) fn admit(spec: &ServiceEntrySpec, status: &Value, issues: &mut Issues) -> ServiceEntry {
    let at = FieldPath::of("spec");
    if spec.location == Location::MeshInternal {
        let message = "MESH_INTERNAL is not supported: nobody outside of Kubernetes has an identity of the mesh";
        issues.add(at.key("location"), message);
    }
    let hosts = hosts(&spec.hosts, &at.key("hosts"), issues);
    let addresses = addresses(&spec.addresses, &at.key("addresses"), issues);
    let ports = ports(&spec.ports, &at.key("ports"), issues);
    let by_name = spec.resolution == Resolution::Dns;
    let endpoints = endpoints(spec, by_name, &at.key("endpoints"), issues);
    match spec.resolution {
        Resolution::Static if spec.endpoints.is_empty() => {
            issues.add(
                at.key("endpoints"),
                "is empty: with STATIC they are all there is",
            );
        }
        Resolution::Dns
            if spec.endpoints.is_empty() && !addresses.is_empty() && hosts.len() > 1 =>
        {
            let message = "stand for several hosts, and which of them a client means cannot be told from them: write an entry for each";
            issues.add(at.key("addresses"), message);
        }
        Resolution::None => {
            let message = "NONE is not supported: write the addresses as endpoints of STATIC";
            issues.add(at.key("resolution"), message);
        }
        _ => {}
    }
    ServiceEntry {
        hosts,
        addresses,
        ports,
        endpoints,
        exported: exported(&spec.export_to, &at.key("exportTo"), issues),
        given: given(status),
    }
}

fn hosts(hosts: &[String], at: &FieldPath, issues: &mut Issues) -> Vec<Arc<str>> {
    if hosts.is_empty() {
        issues.add(at.clone(), "is empty");
    }
    let mut admitted: Vec<Arc<str>> = Vec::new();
    for (i, host) in hosts.iter().enumerate() {
        let at = at.index(i);
        if host.contains('*') {
            let message =
                format!("{host:?} stands for many names, which is not supported: name each");
            issues.add(at, message);
        } else if issues.take(&at, name(host)).is_some() {
            if admitted.iter().any(|known| **known == **host) {
                issues.add(at, format!("{host:?} stands twice"));
            } else {
                admitted.push(host.as_str().into());
            }
        }
    }
    admitted
}

/// A name that is whole, and that nobody takes for an address or for a machine itself.
fn name(host: &str) -> Result<(), String> {
    dns_subdomain(host)?;
    let last = host.rsplit('.').next().unwrap_or_default();
    if !host.contains('.') || last.bytes().all(|byte| byte.is_ascii_digit()) || last == "localhost"
    {
        return Err(format!(
            "{host:?} is no name of DNS in full, such as api.example.com"
        ));
    }
    Ok(())
}

fn addresses(addresses: &[String], at: &FieldPath, issues: &mut Issues) -> Vec<IpAddr> {
    let mut admitted = Vec::new();
    for (i, text) in addresses.iter().enumerate() {
        let at = at.index(i);
        if text.contains('/') {
            let message =
                format!("{text:?} is a range, which is not supported: write single addresses");
            issues.add(at, message);
        } else if let Some(ip) = issues.take(&at, outside(text)) {
            if admitted.contains(&ip) {
                issues.add(at, format!("{ip} stands twice"));
            } else {
                admitted.push(ip);
            }
        }
    }
    admitted
}

/// An address that leads farther than the machine itself and its link.
fn outside(text: &str) -> Result<IpAddr, String> {
    let ip = address(text)?;
    let link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link {
        return Err(format!("{ip} leads no farther than one link"));
    }
    Ok(ip)
}

fn ports(ports: &[EntryPort], at: &FieldPath, issues: &mut Issues) -> Vec<ServicePort> {
    if ports.is_empty() {
        issues.add(at.clone(), "is empty");
    }
    let mut admitted: Vec<ServicePort> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        issues.take(&at.key("name"), dns_label(&port.name));
        let number = port.number.get();
        if admitted.iter().any(|other| other.port == number) {
            issues.add(at.key("number"), format!("port {number} stands twice"));
        }
        if admitted.iter().any(|other| other.name == port.name) {
            let message = format!("port name {:?} stands twice", port.name);
            issues.add(at.key("name"), message);
        }
        let protocol = match (&port.app_protocol, &port.protocol) {
            (None, Some(protocol)) => issues
                .take(&at.key("protocol"), spoken(protocol))
                .unwrap_or_default(),
            (app_protocol, _) => AppProtocol::of(app_protocol.as_deref(), &port.name),
        };
        admitted.push(ServicePort {
            name: port.name.clone(),
            port: number,
            target: TargetPort::Number(port.target_port.unwrap_or(port.number).get()),
            protocol,
        });
    }
    admitted
}

fn spoken(protocol: &str) -> Result<AppProtocol, String> {
    let known = PROTOCOLS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(protocol));
    known.map(|(_, spoken)| *spoken).ok_or_else(|| {
        let known: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("{protocol:?} is none of {}", known.join(", "))
    })
}

fn endpoints(
    spec: &ServiceEntrySpec,
    by_name: bool,
    at: &FieldPath,
    issues: &mut Issues,
) -> Vec<model::EntryEndpoint> {
    let mut known = BTreeSet::new();
    let mut admitted = Vec::new();
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        let at = at.index(i);
        check_endpoint(endpoint, &spec.ports, &at, issues);
        let Some(place) = issues.take(&at.key("address"), place(&endpoint.address, by_name)) else {
            continue;
        };
        if !known.insert(place.clone()) {
            issues.add(at.key("address"), format!("{place} stands twice"));
        }
        let ports = endpoint.ports.iter();
        let locality = endpoint.locality.iter().flat_map(|text| text.split('/'));
        admitted.push(model::EntryEndpoint {
            place,
            ports: ports
                .map(|(name, port)| (name.clone(), port.get()))
                .collect(),
            locality: locality.map(str::to_owned).collect(),
            weight: endpoint.weight.unwrap_or(1),
        });
    }
    admitted
}

fn check_endpoint(
    endpoint: &EntryEndpoint,
    ports: &[EntryPort],
    at: &FieldPath,
    issues: &mut Issues,
) {
    for name in endpoint.ports.keys() {
        if ports.iter().all(|port| port.name != *name) {
            let message = format!("the entry has no port named {name:?}");
            issues.add(at.key("ports").key(name), message);
        }
    }
    if let Some(locality) = &endpoint.locality {
        let parts: Vec<_> = locality.split('/').collect();
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            let message =
                format!("{locality:?} is none of REGION, REGION/ZONE, REGION/ZONE/SUBZONE");
            issues.add(at.key("locality"), message);
        }
    }
    if endpoint.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
        issues.add(at.key("weight"), format!("is more than {MAX_WEIGHT}"));
    }
}

fn place(text: &str, by_name: bool) -> Result<Place, String> {
    if text.parse::<IpAddr>().is_ok() || !by_name {
        return outside(text).map(Place::Address);
    }
    name(text)?;
    Ok(Place::Name(text.into()))
}

/// `.` alone, `*` alone, or nothing.
fn exported(export_to: &[String], at: &FieldPath, issues: &mut Issues) -> Option<bool> {
    match export_to {
        [] => None,
        [one] if one == "." => Some(false),
        [one] if one == "*" => Some(true),
        _ => {
            let message = "is neither [\".\"] for its own namespace nor [\"*\"] for all";
            issues.add(at.clone(), message);
            None
        }
    }
}

/// What cannot be read was not written by us, and counts for nothing.
fn given(status: &Value) -> Vec<(Arc<str>, IpAddr)> {
    let all = status["addresses"].as_array().into_iter().flatten();
    let one = |given: &Value| {
        let (host, value) = (given["host"].as_str()?, given["value"].as_str()?);
        Some((host.into(), value.parse().ok()?))
    };
    all.filter_map(one).collect()
}
