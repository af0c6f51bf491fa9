//! How things are named on the wire.

use std::net::IpAddr;

use bytes::Bytes;
use culvert_proto::istio::workload::{
    GatewayAddress, NamespacedHostname, NetworkAddress, gateway_address::Destination,
};

use crate::model::{Key, NsName, Place};
use crate::world::{Settings, World};

/// The uid of a pod's workload.
#[must_use]
pub fn pod_uid(settings: &Settings, pod: &NsName) -> String {
    format!(
        "{}//Pod/{}/{}",
        settings.cluster_id(),
        pod.namespace,
        pod.name
    )
}

/// The pod of a workload's uid.
#[must_use]
pub fn pod_of_uid(settings: &Settings, uid: &str) -> Option<NsName> {
    let rest = uid.strip_prefix(settings.cluster_id())?;
    NsName::parse(rest.strip_prefix("//Pod/")?)
}

/// The uid of a waypoint's workload.
#[must_use]
pub fn gateway_uid(settings: &Settings, gateway: &NsName) -> String {
    let NsName { namespace, name } = gateway;
    format!(
        "{}/gateway.networking.k8s.io/Gateway/{namespace}/{name}",
        settings.cluster_id()
    )
}

/// The uid of an endpoint that is no pod.
#[must_use]
pub fn endpoint_uid(settings: &Settings, namespace: &str, address: IpAddr) -> String {
    format!(
        "{}/discovery.k8s.io/EndpointSlice/{namespace}/{address}",
        settings.cluster_id()
    )
}

/// The fully qualified name of a service.
#[must_use]
pub fn hostname(settings: &Settings, service: &NsName) -> String {
    format!(
        "{}.{}.svc.{}",
        service.name,
        service.namespace,
        settings.cluster_domain()
    )
}

/// `NAMESPACE/HOSTNAME`.
#[must_use]
pub fn service(settings: &Settings, service: &NsName) -> String {
    format!("{}/{}", service.namespace, hostname(settings, service))
}

/// `NAMESPACE/HOSTNAME` of a host of a ServiceEntry.
#[must_use]
pub fn entry(namespace: &str, host: &str) -> String {
    format!("{namespace}/{host}")
}

/// The uid of a place where a ServiceEntry is reached.
#[must_use]
pub fn entry_uid(settings: &Settings, entry: &NsName, place: &Place) -> String {
    format!(
        "{}/culvert.dev/ServiceEntry/{entry}/{place}",
        settings.cluster_id()
    )
}

/// `KIND/NAMESPACE/NAME`.
#[must_use]
pub fn route(key: &Key) -> String {
    format!("{}/{}", key.kind, key.name)
}

/// `Gateway/NAMESPACE/NAME`.
#[must_use]
pub fn gateway(name: &NsName) -> String {
    format!("Gateway/{name}")
}

/// `Secret/NAMESPACE/NAME`.
#[must_use]
pub fn certificate(secret: &NsName) -> String {
    format!("Secret/{secret}")
}

/// `BackendTLSPolicy/NAMESPACE/NAME`.
#[must_use]
pub fn backend_tls(policy: &NsName) -> String {
    format!("BackendTLSPolicy/{policy}")
}

/// A SPIFFE name without its scheme.
#[must_use]
pub fn principal(world: &World, namespace: &str, service_account: &str) -> String {
    format!(
        "{}/ns/{namespace}/sa/{service_account}",
        world.settings.trust_domain()
    )
}

/// The bytes of an address.
#[must_use]
pub fn address_bytes(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}

/// The address of these bytes.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// An address of the cluster's own network.
#[must_use]
pub fn network_address(address: IpAddr) -> NetworkAddress {
    NetworkAddress {
        network: String::new(),
        address: address_bytes(address),
        length: None,
    }
}

/// A waypoint that can be reached.
#[must_use]
pub fn gateway_address(address: IpAddr, port: u16) -> GatewayAddress {
    GatewayAddress {
        destination: Some(Destination::Address(network_address(address))),
        hbone_mtls_port: port.into(),
    }
}

/// A waypoint whose instances are the endpoints of its own Service.
#[must_use]
pub fn service_gateway(settings: &Settings, gateway: &NsName) -> GatewayAddress {
    let hostname = NamespacedHostname {
        namespace: gateway.namespace.to_string(),
        hostname: hostname(settings, gateway),
    };
    GatewayAddress {
        destination: Some(Destination::Hostname(hostname)),
        hbone_mtls_port: 15008,
    }
}

/// A waypoint that can't: no service ever has this name, and a waypoint that is not known means refusal.
#[must_use]
pub fn unreachable_gateway(gateway: &NsName) -> GatewayAddress {
    let hostname = NamespacedHostname {
        namespace: gateway.namespace.to_string(),
        hostname: format!("{}.{}.waypoint.invalid", gateway.name, gateway.namespace),
    };
    GatewayAddress {
        destination: Some(Destination::Hostname(hostname)),
        hbone_mtls_port: 15008,
    }
}
