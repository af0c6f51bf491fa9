//! `istio.workload.Workload`.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_identity::{SpiffeError, SpiffeId, TrustDomain};
use culvert_proto::istio::workload as proto;

use super::{Result, gateway, invalid, known, named, namespaced, port, required, unicast};
use crate::state::gateway::GatewayRef;
use crate::state::intern::Interners;
use crate::state::workload::{
    ApplicationTunnel, Locality, NamedPolicies, Own, Place, PortMapping, ServiceBinding, Template,
    Tunnel, Workload, WorkloadType,
};

/// The service account of a workload that names none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Validates a workload. Its resource's name becomes its uid.
pub(in crate::state) fn decode_workload(
    interners: &mut Interners,
    mesh_trust_domain: &str,
    name: &Arc<str>,
    workload: &proto::Workload,
) -> Result<Workload> {
    named("uid", name, &workload.uid)?;
    let status: proto::WorkloadStatus = known("status", workload.status)?;
    Ok(Workload {
        uid: name.clone(),
        own: Own::new(
            name,
            required("name", &workload.name)?,
            &addresses(workload)?,
        ),
        healthy: status == proto::WorkloadStatus::Healthy,
        capacity: workload.capacity.unwrap_or(1),
        place: place(interners, workload),
        template: template(interners, mesh_trust_domain, workload)?,
    })
}

/// The same workload after the mesh's trust domain changed; `None` if it has one of its own.
pub(in crate::state) fn with_trust_domain(
    interners: &mut Interners,
    trust_domain: &str,
    workload: &Workload,
) -> Option<Workload> {
    let template = &workload.template;
    if !template.inherits_trust_domain || template.identity.trust_domain() == trust_domain {
        return None;
    }
    let account = template.identity.service_account();
    let identity = spiffe_id(trust_domain, &template.namespace, account).ok()?;
    let template = Template {
        identity,
        ..Template::clone(template)
    };
    Some(Workload {
        template: interners.templates.intern(template),
        ..workload.clone()
    })
}

fn addresses(workload: &proto::Workload) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::with_capacity(workload.addresses.len());
    for (index, bytes) in workload.addresses.iter().enumerate() {
        let ip = unicast(format_args!("addresses[{index}]"), bytes)?;
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

fn place(interners: &mut Interners, workload: &proto::Workload) -> Arc<Place> {
    let text = &mut interners.text;
    let locality = workload.locality.clone().unwrap_or_default();
    let place = Place {
        node: text.intern(workload.node.as_str()),
        locality: Locality {
            region: text.intern(locality.region.as_str()),
            zone: text.intern(locality.zone.as_str()),
            subzone: text.intern(locality.subzone.as_str()),
        },
        network: text.intern(workload.network.as_str()),
        cluster_id: text.intern(workload.cluster_id.as_str()),
    };
    interners.places.intern(place)
}

fn template(
    interners: &mut Interners,
    mesh_trust_domain: &str,
    workload: &proto::Workload,
) -> Result<Arc<Template>> {
    let namespace = required("namespace", &workload.namespace)?;
    let account = match workload.service_account.as_str() {
        "" => DEFAULT_SERVICE_ACCOUNT,
        account => account,
    };
    let inherits_trust_domain = workload.trust_domain.is_empty();
    let trust_domain = if inherits_trust_domain {
        mesh_trust_domain
    } else {
        &workload.trust_domain
    };
    let network_mode: proto::NetworkMode = known("network_mode", workload.network_mode)?;
    let named = NamedPolicies {
        policies: policies(
            interners,
            "authorization_policies",
            &workload.authorization_policies,
        )?,
        egress_policies: policies(interners, "egress_policies", &workload.egress_policies)?,
    };
    let named = interners.named.intern(named);
    let template = Template {
        namespace: interners.text.intern(namespace),
        identity: spiffe_id(trust_domain, namespace, account)?,
        inherits_trust_domain,
        tunnel: tunnel(workload)?,
        native_tunnel: workload.native_tunnel,
        host_network: network_mode == proto::NetworkMode::HostNetwork,
        external: workload.external,
        hostname: interners.text.intern(workload.hostname.as_str()),
        canonical_name: interners.text.intern(workload.canonical_name.as_str()),
        canonical_revision: interners.text.intern(workload.canonical_revision.as_str()),
        workload_name: interners.text.intern(workload.workload_name.as_str()),
        workload_type: match known("workload_type", workload.workload_type)? {
            proto::WorkloadType::Deployment => WorkloadType::Deployment,
            proto::WorkloadType::Cronjob => WorkloadType::CronJob,
            proto::WorkloadType::Pod => WorkloadType::Pod,
            proto::WorkloadType::Job => WorkloadType::Job,
        },
        waypoint: optional_gateway(interners, "waypoint", workload.waypoint.as_ref())?,
        network_gateway: optional_gateway(
            interners,
            "network_gateway",
            workload.network_gateway.as_ref(),
        )?,
        application_tunnel: workload
            .application_tunnel
            .as_ref()
            .map(application_tunnel)
            .transpose()?,
        services: services(interners, workload)?,
        named,
    };
    Ok(interners.templates.intern(template))
}

fn spiffe_id(trust_domain: &str, namespace: &str, account: &str) -> Result<SpiffeId> {
    TrustDomain::new(trust_domain)
        .and_then(|trust_domain| SpiffeId::new(&trust_domain, namespace, account))
        .or_else(|error| match error {
            SpiffeError::Namespace => invalid("namespace", error),
            SpiffeError::ServiceAccount => invalid("service_account", error),
            _ => invalid("trust_domain", error),
        })
}

fn tunnel(workload: &proto::Workload) -> Result<Tunnel> {
    match known("tunnel_protocol", workload.tunnel_protocol)? {
        proto::TunnelProtocol::None => Ok(Tunnel::None),
        proto::TunnelProtocol::Hbone => Ok(Tunnel::Hbone),
        // Plain text would be the only way to reach it, and it was not asked for.
        proto::TunnelProtocol::LegacyIstioMtls => {
            invalid("tunnel_protocol", "LEGACY_ISTIO_MTLS is not supported")
        }
    }
}

fn optional_gateway(
    interners: &mut Interners,
    field: &str,
    address: Option<&proto::GatewayAddress>,
) -> Result<Option<Box<GatewayRef>>> {
    address
        .map(|address| gateway(interners, field, address).map(Box::new))
        .transpose()
}

fn application_tunnel(tunnel: &proto::ApplicationTunnel) -> Result<ApplicationTunnel> {
    use proto::application_tunnel::Protocol;
    let protocol: Protocol = known("application_tunnel.protocol", tunnel.protocol)?;
    Ok(ApplicationTunnel {
        proxy_protocol: protocol == Protocol::Proxy,
        port: match tunnel.port {
            0 => None,
            number => Some(port("application_tunnel.port", number)?),
        },
    })
}

/// The wire's map is sorted by name already.
fn services(
    interners: &mut Interners,
    workload: &proto::Workload,
) -> Result<Box<[ServiceBinding]>> {
    let mut bindings = Vec::with_capacity(workload.services.len());
    for (key, list) in &workload.services {
        let field = format!("services[{key:?}]");
        namespaced(&field, key)?;
        let mut ports = Vec::with_capacity(list.ports.len());
        for (index, mapping) in list.ports.iter().enumerate() {
            let field = format!("{field}.ports[{index}]");
            ports.push(PortMapping {
                service_port: port(format_args!("{field}.service_port"), mapping.service_port)?,
                target_port: port(format_args!("{field}.target_port"), mapping.target_port)?,
            });
        }
        bindings.push(ServiceBinding {
            service: interners.text.intern(key.as_str()),
            ports: ports.into(),
        });
    }
    Ok(bindings.into())
}

/// Names of policies, in order.
fn policies(interners: &mut Interners, field: &str, named: &[String]) -> Result<Arc<[Arc<str>]>> {
    let mut names = Vec::with_capacity(named.len());
    for (index, name) in named.iter().enumerate() {
        namespaced(format_args!("{field}[{index}]"), name)?;
        names.push(interners.text.intern(name.as_str()));
    }
    names.sort();
    names.dedup();
    Ok(interners.names.intern(names))
}
