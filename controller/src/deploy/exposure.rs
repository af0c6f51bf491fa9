//! How a gateway is reached: its Service's type and ports, and the addresses that come of them. Pure.
//!
//! Invariant: what an instance serves for its own cluster (metrics, readiness, HBONE) is never a port of the Service.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::gateway::Refused;
use super::requested::{self, Requested};
use crate::keys;

/// Ports of an instance that are not for clients: admin, HBONE, metrics, readiness.
const OWN_PORTS: [u16; 4] = [15000, 15008, 15020, 15021];
/// Protocols of listeners that can be served.
const PROTOCOLS: [&str; 4] = ["HTTP", "HTTPS", "TLS", "TCP"];
/// As many addresses as a status may have.
const MOST: usize = 16;

/// The type of a gateway's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ServiceType {
    ClusterIp,
    NodePort,
    #[default]
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }

    fn named(text: &str) -> Option<Self> {
        let all = [Self::ClusterIp, Self::NodePort, Self::LoadBalancer];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the Service of a gateway is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    pub(super) service: ServiceType,
    /// Of the listeners, each once.
    pub(super) ports: BTreeSet<u16>,
    /// Addresses that it is to have.
    pub(super) requested: Vec<Requested>,
}

impl Exposure {
    /// What a Gateway says of it. Ports of its ListenerSets are to be added.
    pub(super) fn of(gateway: &DynamicObject) -> Result<Self, Refused> {
        let annotations = gateway.metadata.annotations.as_ref();
        let service = match annotations.and_then(|a| a.get(keys::SERVICE_TYPE)) {
            None => ServiceType::default(),
            Some(text) => ServiceType::named(text).ok_or_else(|| {
                let message = format!(
                    "metadata.annotations[{}]: {text:?} is none of ClusterIP, NodePort, LoadBalancer",
                    keys::SERVICE_TYPE
                );
                Refused("Invalid", message)
            })?,
        };
        let listeners = gateway.data.pointer("/spec/listeners");
        let listeners = listeners.and_then(Value::as_array).into_iter().flatten();
        let port = |listener: &Value| {
            let protocol = listener["protocol"].as_str()?;
            let port = u16::try_from(listener["port"].as_u64()?).ok()?;
            (PROTOCOLS.contains(&protocol) && !OWN_PORTS.contains(&port)).then_some(port)
        };
        let ports: BTreeSet<_> = listeners.filter_map(port).collect();
        if ports.is_empty() {
            let message = format!(
                "spec.listeners: none has protocol HTTP, HTTPS, TLS or TCP and a port other than {OWN_PORTS:?}"
            );
            return Err(Refused("ListenersNotValid", message));
        }
        Ok(Self {
            service,
            ports,
            requested: requested::read(gateway)?,
        })
    }
}

/// The addresses of the Gateway whose Service this is, as its status has them. Only one of type `NodePort` has nodes'.
pub(super) fn addresses(service: &Value, nodes: &[Node]) -> Vec<Value> {
    let list = |pointer: &str| {
        let list = service.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten()
    };
    let ip = |value: &str| json!({"type": "IPAddress", "value": value});
    let mut addresses: Vec<Value> = match service.pointer("/spec/type").and_then(Value::as_str) {
        Some("LoadBalancer") => list("/status/loadBalancer/ingress")
            .filter_map(|ingress| match (&ingress["ip"], &ingress["hostname"]) {
                (Value::String(address), _) => Some(ip(address)),
                (_, Value::String(name)) => Some(json!({"type": "Hostname", "value": name})),
                _ => None,
            })
            .collect(),
        Some("NodePort") => {
            let mut all: Vec<_> = nodes.iter().flat_map(of_node).collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter().map(ip).collect()
        }
        _ => list("/spec/clusterIPs")
            .filter_map(Value::as_str)
            .filter(|address| *address != "None")
            .map(ip)
            .collect(),
    };
    addresses.truncate(MOST);
    addresses
}

/// Where a node is reached from outside, or else from inside.
fn of_node(node: &Node) -> Vec<&str> {
    let addresses = node.status.as_ref().and_then(|s| s.addresses.as_ref());
    let of = |kind: &str| -> Vec<&str> {
        let all = addresses.into_iter().flatten();
        all.filter(|a| a.type_ == kind)
            .map(|a| &*a.address)
            .collect()
    };
    let external = of("ExternalIP");
    if external.is_empty() {
        of("InternalIP")
    } else {
        external
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(annotations: &Value, listeners: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "g", "annotations": annotations}, "spec": {"listeners": listeners},
        }))
        .unwrap()
    }

    #[test]
    fn each_port_once_and_none_of_our_own() {
        let listeners = json!([
            {"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 443, "protocol": "HTTPS"},
            {"name": "c", "port": 443, "protocol": "TLS"}, {"name": "d", "port": 15020, "protocol": "HTTP"},
            {"name": "e", "port": 53, "protocol": "UDP"}, {"name": "f", "port": 5432, "protocol": "TCP"},
        ]);
        let exposure = Exposure::of(&gateway(&json!({}), &listeners)).unwrap();
        assert_eq!(exposure.service, ServiceType::LoadBalancer);
        assert_eq!(exposure.ports, BTreeSet::from([80, 443, 5432]));
        let own = json!([{"name": "d", "port": 15020, "protocol": "HTTP"}, {"name": "e", "port": 53, "protocol": "UDP"}]);
        let Refused(reason, message) = Exposure::of(&gateway(&json!({}), &own)).unwrap_err();
        assert_eq!(reason, "ListenersNotValid", "{message}");
    }

    #[test]
    fn the_services_type_is_one_of_three() {
        let listeners = json!([{"name": "a", "port": 80, "protocol": "HTTP"}]);
        let of = |text: &str| {
            Exposure::of(&gateway(&json!({keys::SERVICE_TYPE: text}), &listeners))
                .map(|exposure| exposure.service.as_str())
        };
        for name in ["ClusterIP", "NodePort", "LoadBalancer"] {
            assert_eq!(of(name), Ok(name));
        }
        let Refused(reason, message) = of("ExternalName").unwrap_err();
        assert_eq!(reason, "Invalid");
        assert!(message.contains("culvert.dev/service-type"), "{message}");
    }

    #[test]
    fn addresses_are_those_that_the_services_type_gives() {
        let ip = |value: &str| json!({"type": "IPAddress", "value": value});
        let node = |addresses: Value| -> Node {
            serde_json::from_value(json!({"metadata": {}, "status": {"addresses": addresses}}))
                .unwrap()
        };
        let balancer = json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example.com"}]}}});
        let hostname = json!({"type": "Hostname", "value": "lb.example.com"});
        assert_eq!(addresses(&balancer, &[]), [ip("203.0.113.7"), hostname]);
        let none =
            json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]}, "status": {}});
        assert_eq!(addresses(&none, &[]), Vec::<Value>::new());
        let inside = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9", "fd00::9"]}});
        assert_eq!(addresses(&inside, &[]), [ip("10.96.0.9"), ip("fd00::9")]);
        let nodes = [
            node(
                json!([{"type": "InternalIP", "address": "172.30.0.12"}, {"type": "Hostname", "address": "n2"}]),
            ),
            node(
                json!([{"type": "InternalIP", "address": "172.30.0.11"}, {"type": "ExternalIP", "address": "198.51.100.1"}]),
            ),
        ];
        let port = json!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.9"]}});
        assert_eq!(
            addresses(&port, &nodes),
            [ip("172.30.0.12"), ip("198.51.100.1")]
        );
    }
}
