//! Listeners of a gateway, and what can be told of them without looking at anything else: which kinds of route they take,
//! which of them stand in each other's way.

mod conflict;

use super::gateway::allowed;
use super::names::{dns_label, dns_subdomain};
use crate::api::{self, GatewayShape, RouteKind, TlsMode};
use crate::model::{CertificateRef, Kind, Listener, Protocol, Refused};
use crate::path::{FieldPath, Issues};

/// Where an instance listens for itself.
const OWN_PORTS: [u16; 4] = [15000, 15008, 15020, 15021];
const GROUP: &str = "gateway.networking.k8s.io";

pub(super) fn admit(shape: &GatewayShape, issues: &mut Issues) -> Vec<Listener> {
    let at = FieldPath::of("spec.listeners");
    if shape.listeners.is_empty() {
        issues.add(at.clone(), "is empty");
    }
    // Whoever asks for certificates of clients must not be served without.
    let verifies = shape.tls.as_ref().is_some_and(|tls| tls.frontend.is_some());
    let mut listeners: Vec<Listener> = Vec::new();
    for (i, listener) in shape.listeners.iter().enumerate() {
        let at = at.index(i);
        if listeners.iter().any(|other| other.name == listener.name) {
            issues.add(at.key("name"), "stands twice");
        }
        listeners.push(one(listener, verifies, &at, issues));
    }
    conflict::find(&mut listeners);
    listeners
}

fn one(listener: &api::Listener, verifies: bool, at: &FieldPath, issues: &mut Issues) -> Listener {
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
    let mut made = Listener {
        name: listener.name.clone(),
        port: listener.port.get(),
        protocol,
        hostname,
        passthrough: tls.mode == TlsMode::Passthrough,
        certificates: certificates(&tls.certificate_refs, &at.key("tls"), issues),
        allowed: allowed(listener, at, issues),
        kinds,
        strange_kinds,
        refused: None,
    };
    made.refused = refused(&made, &listener.protocol, verifies);
    made
}

fn certificates(
    references: &[api::ObjectRef],
    at: &FieldPath,
    issues: &mut Issues,
) -> Vec<CertificateRef> {
    let mut certificates = Vec::new();
    for (i, reference) in references.iter().enumerate() {
        let at = at.key("certificateRefs").index(i);
        issues.take(&at.key("name"), dns_subdomain(&reference.name));
        if let Some(namespace) = &reference.namespace {
            issues.take(&at.key("namespace"), dns_label(namespace));
        }
        certificates.push(CertificateRef {
            group: reference.group.clone().unwrap_or_default(),
            kind: reference.kind.clone().unwrap_or_else(|| "Secret".into()),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
        });
    }
    certificates
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

fn refused(listener: &Listener, written: &str, verifies: bool) -> Option<Refused> {
    let (reason, message) = if listener.protocol == Protocol::Unknown {
        let message = format!("protocol {written:?} is none of HTTP, HTTPS, TLS, TCP");
        ("UnsupportedProtocol", message)
    } else if listener.protocol == Protocol::Https && listener.passthrough {
        let message = "tls.mode Passthrough: HTTPS ends here; protocol TLS may go on as it is";
        ("UnsupportedValue", message.into())
    } else if OWN_PORTS.contains(&listener.port) {
        let message = format!("port {} is the gateway's own", listener.port);
        ("PortUnavailable", message)
    } else if listener.terminates() && verifies {
        let message = "spec.tls.frontend: certificates of clients cannot be asked for";
        ("UnsupportedValue", message.into())
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
