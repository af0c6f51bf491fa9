//! What a controller would say, in a few words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use culvert_proto::istio::security::{
    self, Authorization, Clause, Match, Rule, StringMatch, string_match::MatchType,
};
use culvert_proto::istio::workload::{
    Address, GatewayAddress, NetworkAddress, Port, PortList, Service, TunnelProtocol, Workload,
    address, gateway_address::Destination,
};
use culvert_proto::waypoint as pb;

pub(crate) use culvert_proto::istio::workload::AppProtocol;

/// The service's key.
pub(crate) fn key(name: &str) -> String {
    format!("demo/{name}.demo.svc.cluster.local")
}

fn bytes(ip: IpAddr) -> prost_bytes::Bytes {
    match ip {
        IpAddr::V4(ip) => prost_bytes::Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => prost_bytes::Bytes::copy_from_slice(&ip.octets()),
    }
}

mod prost_bytes {
    pub(super) use bytes::Bytes;
}

fn network_address(ip: IpAddr) -> NetworkAddress {
    NetworkAddress {
        address: bytes(ip),
        ..Default::default()
    }
}

fn waypoint_at(ip: IpAddr) -> GatewayAddress {
    GatewayAddress {
        destination: Some(Destination::Address(network_address(ip))),
        hbone_mtls_port: 15008,
    }
}

/// The waypoint's own workload.
pub(crate) fn waypoint() -> (String, Address) {
    let uid = "c1/gateway.networking.k8s.io/Gateway/demo/waypoint".to_owned();
    let workload = Workload {
        uid: uid.clone(),
        name: "waypoint".into(),
        namespace: "demo".into(),
        service_account: "waypoint".into(),
        addresses: vec![bytes([10, 99, 0, 1].into())],
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        ..Default::default()
    };
    (
        uid,
        Address {
            r#type: Some(address::Type::Workload(workload)),
        },
    )
}

/// A service with port 80 to port 8080 of its pods, behind the waypoint.
pub(crate) fn service(name: &str, vip: &str, protocol: AppProtocol) -> (String, Address) {
    service_behind(name, vip, protocol, [10, 99, 0, 1].into())
}

/// The same behind another waypoint.
pub(crate) fn service_behind(
    name: &str,
    vip: &str,
    protocol: AppProtocol,
    waypoint: IpAddr,
) -> (String, Address) {
    let service = Service {
        name: name.into(),
        namespace: "demo".into(),
        hostname: format!("{name}.demo.svc.cluster.local"),
        addresses: vec![network_address(vip.parse().unwrap())],
        ports: vec![Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: protocol.into(),
        }],
        waypoint: Some(waypoint_at(waypoint)),
        ..Default::default()
    };
    (
        key(name),
        Address {
            r#type: Some(address::Type::Service(service)),
        },
    )
}

/// A pod of a service.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) service: String,
    pub(crate) hbone: bool,
    pub(crate) policies: Vec<String>,
}

impl Pod {
    pub(crate) fn uid(&self) -> String {
        format!("c1//Pod/demo/{}", self.name)
    }

    pub(crate) fn resource(&self) -> (String, Address) {
        let tunnel = if self.hbone {
            TunnelProtocol::Hbone
        } else {
            TunnelProtocol::None
        };
        let workload = Workload {
            uid: self.uid(),
            name: self.name.clone(),
            namespace: "demo".into(),
            service_account: "backend".into(),
            addresses: vec![bytes(self.ip)],
            tunnel_protocol: tunnel.into(),
            authorization_policies: self.policies.clone(),
            services: BTreeMap::from([(key(&self.service), PortList::default())]),
            ..Default::default()
        };
        (
            self.uid(),
            Address {
                r#type: Some(address::Type::Workload(workload)),
            },
        )
    }
}

/// A route `demo/NAME` of the service `parent`.
pub(crate) fn route(name: &str, parent: &str, rules: Vec<pb::HttpRule>) -> (String, pb::HttpRoute) {
    let route = pb::HttpRoute {
        namespace: "demo".into(),
        name: name.into(),
        created: "2026-01-01T00:00:00Z".into(),
        parents: vec![service_ref(parent, 0)],
        rules,
        ..Default::default()
    };
    (format!("HTTPRoute/demo/{name}"), route)
}

/// One rule for `matches` to `backends` with weights.
pub(crate) fn rule(matches: Vec<pb::HttpMatch>, backends: &[(&str, u32)]) -> pb::HttpRule {
    let backend = |(name, weight): &(&str, u32)| pb::HttpBackend {
        target: Some(pb::http_backend::Target::Service(service_ref(name, 80))),
        weight: *weight,
        filters: Vec::new(),
    };
    pb::HttpRule {
        matches,
        backends: backends.iter().map(backend).collect(),
        ..Default::default()
    }
}

/// A match of a path prefix.
pub(crate) fn prefix(prefix: &str) -> pb::HttpMatch {
    let path = pb::PathMatch {
        kind: Some(pb::path_match::Kind::Prefix(prefix.into())),
    };
    pb::HttpMatch {
        path: Some(path),
        ..Default::default()
    }
}

/// A match of an exact value.
pub(crate) fn exactly(name: &str, value: &str) -> pb::ValueMatch {
    pb::ValueMatch {
        name: name.into(),
        kind: Some(pb::value_match::Kind::Exact(value.into())),
    }
}

/// A filter.
pub(crate) fn filter(kind: pb::http_filter::Kind) -> pb::HttpFilter {
    pb::HttpFilter { kind: Some(kind) }
}

/// A reference to a service.
pub(crate) fn service_ref(name: &str, port: u32) -> pb::ServiceRef {
    pb::ServiceRef {
        service: key(name),
        port,
    }
}

/// A duration.
pub(crate) fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: (millis / 1000).into(),
        nanos: millis % 1000 * 1_000_000,
    })
}

/// A traffic policy `demo/NAME` of the service.
pub(crate) fn traffic(
    name: &str,
    service: &str,
    policy: pb::TrafficPolicy,
) -> (String, pb::TrafficPolicy) {
    let policy = pb::TrafficPolicy {
        namespace: "demo".into(),
        name: name.into(),
        targets: vec![service_ref(service, 0)],
        ..policy
    };
    (format!("TrafficPolicy/demo/{name}"), policy)
}

/// A fault policy `demo/NAME` of the service.
pub(crate) fn fault(
    name: &str,
    service: &str,
    policy: pb::FaultPolicy,
) -> (String, pb::FaultPolicy) {
    let policy = pb::FaultPolicy {
        namespace: "demo".into(),
        name: name.into(),
        targets: vec![service_ref(service, 0)],
        ..policy
    };
    (format!("FaultPolicy/demo/{name}"), policy)
}

/// A policy `demo/NAME` for the client of a service account; for a service, or for the workloads that name it.
pub(crate) fn authorization(
    name: &str,
    action: security::Action,
    client: &str,
    service: Option<&str>,
) -> (String, Authorization) {
    let principal = format!("cluster.local/ns/demo/sa/{client}");
    let principal = StringMatch {
        match_type: Some(MatchType::Exact(principal)),
    };
    let one = Match {
        principals: vec![principal],
        ..Default::default()
    };
    let rule = Rule {
        clauses: vec![Clause { matches: vec![one] }],
    };
    let extensions = service.map(|service| {
        let target = service_ref(service, 0);
        let config = prost_types::Any {
            type_url: "type.googleapis.com/culvert.waypoint.v1.ServiceRef".into(),
            value: prost::Message::encode_to_vec(&target),
        };
        culvert_proto::istio::workload::Extension {
            name: culvert_xds::state::TARGETS_EXTENSION.into(),
            config: Some(config),
        }
    });
    let authorization = Authorization {
        name: name.into(),
        namespace: "demo".into(),
        scope: security::Scope::WorkloadSelector.into(),
        action: action.into(),
        rules: vec![rule],
        extensions: extensions.into_iter().collect(),
        ..Default::default()
    };
    (format!("demo/{name}"), authorization)
}
