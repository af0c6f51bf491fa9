//! Listeners of a gateway, and what can be told of them without looking at anything else: which kinds of route they take,
//! which of them stand in each other's way.

pub(crate) mod conflict;

use super::gateway::namespaces;
use super::names::{dns_label, dns_subdomain};
use crate::api::{self, GatewayShape, RouteKind, TlsMode};
use crate::model::{CertificateRef, Kind, Listener, ListenerSet, Meta, NsName, Protocol, Refused};
use crate::path::{FieldPath, Issues};

/// Where an instance listens for itself.
const OWN_PORTS: [u16; 4] = [15000, 15008, 15020, 15021];
const GROUP: &str = "gateway.networking.k8s.io";

pub(super) fn admit(shape: &GatewayShape, issues: &mut Issues) -> Vec<Listener> {
    let mut listeners = all(&shape.listeners, None, issues);
    conflict::find(&mut listeners);
    listeners
}

/// A ListenerSet. Which of its listeners stand in others' way depends on its Gateway.
pub(super) fn admit_set(
    meta: &Meta,
    spec: &api::ListenerSetSpec,
    issues: &mut Issues,
) -> ListenerSet {
    let (parent, at) = (&spec.parent_ref, FieldPath::of("spec.parentRef"));
    let own = &*meta.name.namespace;
    let namespace = parent.namespace.as_deref().unwrap_or(own);
    let group = parent.group.as_deref().unwrap_or(GROUP);
    let is_gateway = group == GROUP && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    issues.take(&at.key("namespace"), dns_label(namespace));
    issues.take(&at.key("name"), dns_subdomain(&parent.name));
    ListenerSet {
        gateway: is_gateway.then(|| NsName::new(namespace, parent.name.as_str())),
        listeners: all(&spec.listeners, Some(&meta.name), issues),
    }
}

fn all(written: &[api::Listener], set: Option<&NsName>, issues: &mut Issues) -> Vec<Listener> {
    let at = FieldPath::of("spec.listeners");
    if written.is_empty() {
        issues.add(at.clone(), "is empty");
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for (i, listener) in written.iter().enumerate() {
        let at = at.index(i);
        if listeners.iter().any(|other| other.name == listener.name) {
            issues.add(at.key("name"), "stands twice");
        }
        listeners.push(one(listener, set, &at, issues));
    }
    listeners
}

fn one(
    listener: &api::Listener,
    set: Option<&NsName>,
    at: &FieldPath,
    issues: &mut Issues,
) -> Listener {
    issues.take(&at.key("name"), dns_subdomain(&listener.name));
    let protocol = match listener.protocol.as_str() {
        "HTTP" => Protocol::Http,
        "HTTPS" => Protocol::Https,
        "TLS" => Protocol::Tls,
        "TCP" => Protocol::Tcp,
        _ => Protocol::Unknown,
    };
    let hostname = listener.hostname.clone().unwrap_or_default();
    if !hostname.is_empty() {
        let name = hostname.strip_prefix("*.").unwrap_or(&hostname);
        issues.take(&at.key("hostname"), dns_subdomain(name));
        if protocol == Protocol::Tcp {
            issues.add(at.key("hostname"), "is never told by a client of TCP");
        }
    }
    if listener.tls.is_some() && matches!(protocol, Protocol::Http | Protocol::Tcp) {
        let message = format!("protocol {} has none", listener.protocol);
        issues.add(at.key("tls"), message);
    }
    let tls = listener.tls.clone().unwrap_or_default();
    let (kinds, strange_kinds) = kinds(protocol, &listener.allowed_routes.kinds);
    let from = &listener.allowed_routes.namespaces;
    let allowed = (from.from, &from.selector);
    let of_routes = at.key("allowedRoutes").key("namespaces");
    let mut made = Listener {
        name: listener.name.clone(),
        set: set.cloned(),
        port: listener.port.get(),
        protocol,
        hostname,
        passthrough: tls.mode == TlsMode::Passthrough,
        certificates: references(
            &tls.certificate_refs,
            "Secret",
            &at.key("tls").key("certificateRefs"),
            issues,
        ),
        allowed: namespaces(allowed, &of_routes, issues),
        kinds,
        strange_kinds,
        refused: None,
    };
    made.refused = refused(&made, &listener.protocol);
    made
}

/// References to what holds certificates, of this kind where they name none.
pub(super) fn references(
    references: &[api::ObjectRef],
    kind: &str,
    at: &FieldPath,
    issues: &mut Issues,
) -> Vec<CertificateRef> {
    let references = references.iter().enumerate();
    references
        .map(|(i, one)| reference(one, kind, &at.index(i), issues))
        .collect()
}

/// One of them.
pub(super) fn reference(
    reference: &api::ObjectRef,
    kind: &str,
    at: &FieldPath,
    issues: &mut Issues,
) -> CertificateRef {
    issues.take(&at.key("name"), dns_subdomain(&reference.name));
    if let Some(namespace) = &reference.namespace {
        issues.take(&at.key("namespace"), dns_label(namespace));
    }
    CertificateRef {
        group: reference.group.clone().unwrap_or_default(),
        kind: reference.kind.clone().unwrap_or_else(|| kind.into()),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

/// Kinds of route that a listener takes, and what it names besides.
fn kinds(protocol: Protocol, named: &[RouteKind]) -> (Vec<Kind>, Vec<String>) {
    let all: &[Kind] = match protocol {
        Protocol::Http | Protocol::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
        Protocol::Tls => &[Kind::TlsRoute],
        Protocol::Tcp => &[Kind::TcpRoute],
        Protocol::Unknown => &[],
    };
    if named.is_empty() {
        return (all.to_vec(), Vec::new());
    }
    let (mut kinds, mut strange) = (Vec::new(), Vec::new());
    for RouteKind { group, kind } in named {
        let group = group.as_deref().unwrap_or(GROUP);
        let known = Kind::named(kind).filter(|known| group == GROUP && all.contains(known));
        match known {
            Some(known) if kinds.contains(&known) => {}
            Some(known) => kinds.push(known),
            None => strange.push(format!("{group}/{kind}")),
        }
    }
    (kinds, strange)
}

fn refused(listener: &Listener, written: &str) -> Option<Refused> {
    let (reason, message) = if listener.protocol == Protocol::Unknown {
        let message = format!("protocol {written:?} is none of HTTP, HTTPS, TLS, TCP");
        ("UnsupportedProtocol", message)
    } else if listener.protocol == Protocol::Https && listener.passthrough {
        let message = "tls.mode Passthrough: HTTPS ends here; protocol TLS may go on as it is";
        ("UnsupportedValue", message.into())
    } else if OWN_PORTS.contains(&listener.port) {
        let message = format!("port {} is the gateway's own", listener.port);
        ("PortUnavailable", message)
    } else {
        return None;
    };
    Some(Refused {
        reason,
        conflict: false,
        message,
    })
}

#[cfg(test)]
mod tests;
