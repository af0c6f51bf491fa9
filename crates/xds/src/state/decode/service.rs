//! `istio.workload.Service`.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_proto::istio::workload as proto;

use super::{Result, gateway, intern_required, invalid, known, named, port, required, unicast};
use crate::state::intern::Interners;
use crate::state::service::{
    AppProtocol, Families, HealthPolicy, LoadBalancing, LoadBalancingMode, LoadBalancingScope,
    Service, ServicePort,
};

/// Validates a service.
pub(in crate::state) fn decode_service(
    interners: &mut Interners,
    name: &Arc<str>,
    service: &proto::Service,
) -> Result<Service> {
    let hostname = hostname(&service.hostname)?;
    required("namespace", &service.namespace)?;
    named(
        "namespace, hostname",
        name,
        &format!("{}/{hostname}", service.namespace),
    )?;
    let waypoint = service.waypoint.as_ref();
    Ok(Service {
        key: interners.text.intern(name.clone()),
        name: intern_required(interners, "name", &service.name)?,
        namespace: interners.text.intern(service.namespace.as_str()),
        hostname: interners.text.intern(hostname),
        vips: vips(service)?,
        families: match known("ip_families", service.ip_families)? {
            proto::IpFamilies::Automatic | proto::IpFamilies::Dual => Families::Any,
            proto::IpFamilies::Ipv4Only => Families::V4,
            proto::IpFamilies::Ipv6Only => Families::V6,
        },
        ports: ports(service)?,
        identities: service
            .subject_alt_names
            .iter()
            // Other kinds of name are never presented by a workload of a mesh.
            .filter_map(|name| name.parse::<SpiffeId>().ok())
            .collect(),
        waypoint: waypoint
            .map(|address| gateway(interners, "waypoint", address))
            .transpose()?,
        load_balancing: load_balancing(service)?,
        canonical: service.canonical,
        ingress_use_waypoint: service.ingress_use_waypoint,
        private: match known("visibility", service.visibility)? {
            proto::service::Visibility::Public => false,
            proto::service::Visibility::Namespace => true,
        },
        external: service.external,
    })
}

/// DNS names compare without regard to case; on this wire they are in lower case.
fn hostname(hostname: &str) -> Result<&str> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._*".contains(&byte);
    if hostname.is_empty() || hostname.len() > 253 || !hostname.bytes().all(allowed) {
        return invalid(
            "hostname",
            format_args!("{hostname:?} is no host name in lower case"),
        );
    }
    Ok(hostname)
}

fn vips(service: &proto::Service) -> Result<Box<[IpAddr]>> {
    let mut vips = Vec::with_capacity(service.addresses.len());
    for (index, address) in service.addresses.iter().enumerate() {
        let field = format!("addresses[{index}]");
        let ip = unicast(&field, &address.address)?;
        let whole = u32::try_from(address.address.len() * 8).unwrap_or(u32::MAX);
        if address.length.is_some_and(|length| length != whole) {
            return invalid(field, "a range of addresses is not supported");
        }
        if !vips.contains(&ip) {
            vips.push(ip);
        }
    }
    Ok(vips.into())
}

fn ports(service: &proto::Service) -> Result<Box<[ServicePort]>> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(service.ports.len());
    for (index, given) in service.ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let number = port(format_args!("{field}.service_port"), given.service_port)?;
        if ports.iter().any(|known| known.port == number) {
            return invalid(field, format_args!("port {number} is there twice"));
        }
        ports.push(ServicePort {
            port: number,
            target_port: match given.target_port {
                0 => None,
                target => Some(port(format_args!("{field}.target_port"), target)?),
            },
            app_protocol: match known(format_args!("{field}.app_protocol"), given.app_protocol)? {
                proto::AppProtocol::Unknown => AppProtocol::Unknown,
                proto::AppProtocol::Http11 => AppProtocol::Http11,
                proto::AppProtocol::Http2 => AppProtocol::Http2,
                proto::AppProtocol::Grpc => AppProtocol::Grpc,
                proto::AppProtocol::Tcp => AppProtocol::Tcp,
                proto::AppProtocol::Tls => AppProtocol::Tls,
            },
        });
    }
    Ok(ports.into())
}

fn load_balancing(service: &proto::Service) -> Result<LoadBalancing> {
    use proto::load_balancing::{HealthPolicy as ProtoHealth, Mode, Scope};
    let Some(given) = &service.load_balancing else {
        return Ok(LoadBalancing::default());
    };
    let mut routing_preference = Vec::with_capacity(given.routing_preference.len());
    for (index, scope) in given.routing_preference.iter().enumerate() {
        let field = format!("load_balancing.routing_preference[{index}]");
        routing_preference.push(match known(&field, *scope)? {
            Scope::UnspecifiedScope => return invalid(field, "is unspecified"),
            Scope::Region => LoadBalancingScope::Region,
            Scope::Zone => LoadBalancingScope::Zone,
            Scope::Subzone => LoadBalancingScope::Subzone,
            Scope::Node => LoadBalancingScope::Node,
            Scope::Cluster => LoadBalancingScope::Cluster,
            Scope::Network => LoadBalancingScope::Network,
        });
    }
    Ok(LoadBalancing {
        routing_preference,
        mode: match known("load_balancing.mode", given.mode)? {
            Mode::UnspecifiedMode => LoadBalancingMode::Unspecified,
            Mode::Strict => LoadBalancingMode::Strict,
            Mode::Failover => LoadBalancingMode::Failover,
            Mode::Passthrough => LoadBalancingMode::Passthrough,
        },
        health_policy: match known("load_balancing.health_policy", given.health_policy)? {
            ProtoHealth::OnlyHealthy => HealthPolicy::OnlyHealthy,
            ProtoHealth::AllowAll => HealthPolicy::AllowAll,
        },
        client_affinity: given.client_affinity,
    })
}
