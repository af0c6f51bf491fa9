//! Builders of what a control plane sends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use culvert_proto::ads;
use culvert_proto::istio::security as policy_proto;
use culvert_proto::istio::workload as proto;
use culvert_proto::node::MeshSettings;
use culvert_proto::type_url::{ADDRESS, AUTHORIZATION, MESH_SETTINGS};
use culvert_xds::state::Settings;
use culvert_xds::{Handler as _, Rejected, Resource, Store, Update};
use prost::Message as _;

pub(crate) fn ip_bytes(ip: &str) -> bytes::Bytes {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
    }
}

pub(crate) fn uid(name: &str) -> String {
    format!("c1//Pod/demo/{name}")
}

/// A pod of namespace `demo` in the mesh.
pub(crate) fn workload(name: &str, ip: &str) -> proto::Workload {
    proto::Workload {
        uid: uid(name),
        name: name.into(),
        namespace: "demo".into(),
        addresses: vec![ip_bytes(ip)],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        service_account: "web".into(),
        node: "n1".into(),
        ..Default::default()
    }
}

pub(crate) fn with_service(
    mut workload: proto::Workload,
    key: &str,
    ports: &[(u32, u32)],
) -> proto::Workload {
    workload.services.insert(
        key.into(),
        proto::PortList {
            ports: port_list(ports),
        },
    );
    workload
}

fn port_list(ports: &[(u32, u32)]) -> Vec<proto::Port> {
    let port = |&(service_port, target_port)| proto::Port {
        service_port,
        target_port,
        app_protocol: 0,
    };
    ports.iter().map(port).collect()
}

/// A service `demo/NAME.demo.svc.cluster.local`.
pub(crate) fn service(name: &str, vip: &str, ports: &[(u32, u32)]) -> proto::Service {
    proto::Service {
        name: name.into(),
        namespace: "demo".into(),
        hostname: format!("{name}.demo.svc.cluster.local"),
        addresses: vec![proto::NetworkAddress {
            network: String::new(),
            address: ip_bytes(vip),
            length: None,
        }],
        ports: port_list(ports),
        ..Default::default()
    }
}

pub(crate) fn key(name: &str) -> String {
    format!("demo/{name}.demo.svc.cluster.local")
}

pub(crate) fn address(kind: proto::address::Type) -> Vec<u8> {
    proto::Address { r#type: Some(kind) }.encode_to_vec()
}

/// A policy `demo/NAME` for the workloads that name it, matching one source namespace.
pub(crate) fn policy(
    name: &str,
    action: policy_proto::Action,
    namespace: &str,
) -> policy_proto::Authorization {
    policy_proto::Authorization {
        name: name.into(),
        namespace: "demo".into(),
        scope: policy_proto::Scope::WorkloadSelector.into(),
        action: action.into(),
        rules: vec![rule(namespace)],
        ..Default::default()
    }
}

pub(crate) fn rule(namespace: &str) -> policy_proto::Rule {
    let exact = policy_proto::string_match::MatchType::Exact(namespace.into());
    policy_proto::Rule {
        clauses: vec![policy_proto::Clause {
            matches: vec![policy_proto::Match {
                namespaces: vec![policy_proto::StringMatch {
                    match_type: Some(exact),
                }],
                ..Default::default()
            }],
        }],
    }
}

/// The extension that makes a policy one for a service.
pub(crate) fn target(service: &str, port: u32) -> proto::Extension {
    let target = culvert_proto::waypoint::ServiceRef {
        service: service.into(),
        port,
    };
    proto::Extension {
        name: "culvert.dev/targets".into(),
        config: Some(prost_types::Any {
            type_url: "type.googleapis.com/culvert.waypoint.v1.ServiceRef".into(),
            value: target.encode_to_vec(),
        }),
    }
}

pub(crate) fn settings(trust_domain: &str, root_namespace: &str) -> MeshSettings {
    MeshSettings {
        trust_domain: trust_domain.into(),
        root_namespace: root_namespace.into(),
        cluster_domain: "cluster.local".into(),
        cluster_cidrs: vec!["10.0.0.0/8".into(), "fd10::/16".into()],
        ..Default::default()
    }
}

/// A resource of the wire.
pub(crate) fn wire(type_url: &str, name: &str, version: &str, body: Vec<u8>) -> ads::Resource {
    ads::Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(prost_types::Any {
            type_url: type_url.into(),
            value: body,
        }),
        ..Default::default()
    }
}

/// A store, fed without a protocol.
pub(crate) struct Fed(pub(crate) Store);

impl Fed {
    pub(crate) fn new() -> Self {
        Self(Store::new(Settings::default()))
    }

    pub(crate) fn put(&mut self, type_url: &str, name: &str, body: Vec<u8>) -> Vec<Rejected> {
        let resource = Resource {
            name: name.into(),
            version: "1".into(),
            body: body.into(),
        };
        let update = Update {
            resources: vec![resource],
            ..Update::default()
        };
        self.0.apply(type_url, update)
    }

    pub(crate) fn remove(&mut self, type_url: &str, name: &str) -> Vec<Rejected> {
        let update = Update {
            removed: vec![name.into()],
            ..Update::default()
        };
        self.0.apply(type_url, update)
    }

    pub(crate) fn workload(&mut self, workload: proto::Workload) -> Vec<Rejected> {
        let name = workload.uid.clone();
        self.put(
            ADDRESS,
            &name,
            address(proto::address::Type::Workload(workload)),
        )
    }

    pub(crate) fn service(&mut self, service: proto::Service) -> Vec<Rejected> {
        let name = format!("{}/{}", service.namespace, service.hostname);
        self.put(
            ADDRESS,
            &name,
            address(proto::address::Type::Service(service)),
        )
    }

    pub(crate) fn policy(&mut self, policy: &policy_proto::Authorization) -> Vec<Rejected> {
        let name = format!("{}/{}", policy.namespace, policy.name);
        self.put(AUTHORIZATION, &name, policy.encode_to_vec())
    }

    pub(crate) fn settings(&mut self, settings: &MeshSettings) -> Vec<Rejected> {
        self.put(MESH_SETTINGS, "default", settings.encode_to_vec())
    }
}

/// A handler that keeps what it is given and rejects the bodies `bad`.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) held: BTreeMap<Arc<str>, Vec<u8>>,
    pub(crate) updates: usize,
}

impl culvert_xds::Handler for Recorder {
    fn apply(&mut self, _: &str, update: Update) -> Vec<Rejected> {
        self.updates += 1;
        for name in update.removed {
            self.held.remove(&name);
        }
        let mut rejected = Vec::new();
        for resource in update.resources {
            if &*resource.body == b"bad" {
                rejected.push(Rejected {
                    name: resource.name,
                    error: "the body is bad".into(),
                });
            } else {
                self.held.insert(resource.name, resource.body.to_vec());
            }
        }
        rejected
    }
}
