//! Clients outside the mesh at the listeners of a Gateway.

mod bounds;
mod clients;
mod http;
mod lifecycle;
mod streams;
mod tls;

use anyhow::Result;
use culvert_proto::type_url;
use culvert_proto::waypoint as pb;
use culvert_proto::waypoint::ListenerProtocol;

use crate::mesh::Mesh;
use crate::resources::{rule, service_ref};

/// A listener called as it is used for.
fn listener(name: &str, port: u32, protocol: ListenerProtocol, hostname: &str) -> pb::Listener {
    pb::Listener {
        name: name.into(),
        port,
        protocol: protocol.into(),
        hostname: hostname.into(),
        ..Default::default()
    }
}

/// The same with a certificate.
fn secured(listener: pb::Listener, certificate: &str) -> pb::Listener {
    pb::Listener {
        certificates: vec![certificate.into()],
        ..listener
    }
}

impl Mesh {
    /// Tells the gateway of its listeners.
    fn listeners(&self, listeners: Vec<pb::Listener>) -> Result<()> {
        self.gateway(listeners, &[])
    }

    /// The same with policies.
    fn gateway(&self, listeners: Vec<pb::Listener>, policies: &[&str]) -> Result<()> {
        let gateway = pb::Gateway {
            namespace: "demo".into(),
            name: "waypoint".into(),
            listeners,
            authorizations: policies.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        };
        self.put(
            type_url::GATEWAY,
            &("Gateway/demo/waypoint".into(), gateway),
        )
    }

    fn certificate(&self, name: &str, certificate: pb::Certificate) -> Result<()> {
        self.put(type_url::CERTIFICATE, &(name.to_owned(), certificate))
    }

    /// A route `demo/NAME` at a listener for these hosts.
    fn attach(&self, name: &str, listener: &str, hosts: &[&str], backend: &str) -> Result<()> {
        self.attach_rules(name, listener, hosts, vec![rule(vec![], &[(backend, 1)])])
    }

    fn attach_rules(
        &self,
        name: &str,
        listener: &str,
        hosts: &[&str],
        rules: Vec<pb::HttpRule>,
    ) -> Result<()> {
        let route = pb::HttpRoute {
            namespace: "demo".into(),
            name: name.into(),
            created: "2026-01-01T00:00:00Z".into(),
            listeners: vec![at(listener, hosts)],
            rules,
            ..Default::default()
        };
        self.put(
            type_url::HTTP_ROUTE,
            &(format!("HTTPRoute/demo/{name}"), route),
        )
    }

    /// A TLSRoute or TCPRoute `demo/NAME` at a listener.
    fn stream(&self, name: &str, listener: &str, tls: Option<&str>, backend: &str) -> Result<()> {
        let hosts: Vec<_> = tls.into_iter().filter(|name| !name.is_empty()).collect();
        let route = pb::StreamRoute {
            listeners: vec![at(listener, &hosts)],
            ..stream_route(name, tls.is_some(), backend)
        };
        self.put(
            type_url::STREAM_ROUTE,
            &(format!("StreamRoute/demo/{name}"), route),
        )
    }
}

fn stream_route(name: &str, tls: bool, backend: &str) -> pb::StreamRoute {
    let target = pb::http_backend::Target::Service(service_ref(backend, 80));
    pb::StreamRoute {
        namespace: "demo".into(),
        name: name.into(),
        created: "2026-01-01T00:00:00Z".into(),
        tls,
        backends: vec![pb::HttpBackend {
            target: Some(target),
            weight: 1,
            filters: Vec::new(),
        }],
        ..Default::default()
    }
}

fn at(listener: &str, hosts: &[&str]) -> pb::ListenerRef {
    pb::ListenerRef {
        gateway: "demo/waypoint".into(),
        listener: listener.into(),
        hostnames: hosts.iter().map(|host| (*host).into()).collect(),
    }
}
