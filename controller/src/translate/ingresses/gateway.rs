//! What the instances of the gateway for Ingresses are told: a listener in plain text for each host, one with TLS where
//! there is a certificate, and the certificates.
//!
//! Invariant: a host without a certificate of its own is refused in TLS where otherwise a wildcard's or everybody's
//! certificate, and with it another's routes, would be in its place.

use std::collections::BTreeSet;

use culvert_proto::waypoint::{self as wire, ListenerProtocol};

use super::claims::{self, covers};
use crate::model::{Key, Kind, NsName};
use crate::path::FieldPath;
use crate::translate::finding::{ConditionType, Finding, Findings};
use crate::translate::resource::{Message, Resource};
use crate::translate::{ingress, names};
use crate::world::World;

/// The ports, and the first word of the names of their listeners.
pub(in super::super) const HTTP: (&str, u16) = ("http", 80);
pub(in super::super) const HTTPS: (&str, u16) = ("https", 443);

/// The gateway and its certificates; nothing where there is no Ingress.
#[must_use]
pub fn of(world: &World) -> (Vec<Resource>, Vec<Finding>) {
    if !super::any(world) {
        return (Vec::new(), Vec::new());
    }
    let name = world.ingresses.gateway();
    let mut findings = Findings::new(Key {
        kind: Kind::Gateway,
        name: name.clone(),
    });
    if !ingress::is_programmed(world, name) {
        let message = "no instance is ready yet";
        let condition = ConditionType::Programmed;
        findings.note(condition, "Pending", FieldPath::root(), message);
    }
    let hosts = hosts(world);
    let message = wire::Gateway {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        listeners: hosts
            .iter()
            .flat_map(|host| listeners(host, &hosts))
            .collect(),
        authorizations: ingress::authorizations(world, name),
        ..wire::Gateway::default()
    };
    let mut made = vec![Resource {
        name: names::gateway(name).into(),
        aliases: Vec::new(),
        message: Message::Gateway(message),
    }];
    made.extend(ingress::certificates(world, secrets_of(hosts)));
    let mut findings = findings.into_vec();
    findings.extend(ingress::of_sets(world, name));
    (made, findings)
}

/// Secrets that its instances are told.
#[must_use]
pub fn secrets(world: &World) -> BTreeSet<NsName> {
    secrets_of(hosts(world))
}

fn secrets_of(hosts: Vec<Host<'_>>) -> BTreeSet<NsName> {
    let secrets = hosts.into_iter().filter_map(|host| host.tls?.ok());
    secrets.collect()
}

/// A host that is served.
struct Host<'a> {
    name: &'a str,
    /// Its certificate, or why there is none though an Ingress names one.
    tls: Option<Result<NsName, String>>,
}

fn hosts(world: &World) -> Vec<Host<'_>> {
    let served = |name| {
        let certificate = claims::of(world, name)?.certificate();
        let tls = certificate.map(|certificate| usable(world, certificate.secret));
        Some(Host { name, tls })
    };
    world.ingresses.hosts().filter_map(served).collect()
}

/// Hosts that are refused in TLS, because the Secret that an Ingress names holds no certificate.
pub(super) fn unproven(world: &World) -> Vec<&str> {
    let hosts = hosts(world).into_iter();
    let unproven = hosts.filter(|host| matches!(host.tls, Some(Err(_))));
    unproven.map(|host| host.name).collect()
}

/// The Secret, if there is a certificate in it.
fn usable(world: &World, secret: NsName) -> Result<NsName, String> {
    let object = world.cache.secrets.get(&secret);
    let spec = object.map(|object| &object.spec);
    match spec {
        Some(spec) if spec.pair.is_some() => Ok(secret),
        _ => Err(wrong(world, &secret).unwrap_or_default()),
    }
}

/// What is wrong with a Secret, be it that its last good certificate is in force.
pub(super) fn wrong(world: &World, secret: &NsName) -> Option<String> {
    let Some(object) = world.cache.secrets.get(secret) else {
        return Some(format!(
            "there is no Secret {secret} of type kubernetes.io/tls"
        ));
    };
    let problem = object.spec.problem.as_ref()?;
    let rest = if object.spec.pair.is_some() {
        ": the last good one is in force"
    } else {
        ""
    };
    Some(format!("Secret {secret}: {problem}{rest}"))
}

fn listeners(host: &Host<'_>, all: &[Host<'_>]) -> Vec<wire::Listener> {
    let listener = |(word, port): (&str, u16), protocol: ListenerProtocol| wire::Listener {
        name: name(word, host.name),
        port: port.into(),
        protocol: protocol.into(),
        hostname: host.name.to_owned(),
        one_label: host.name.starts_with('*'),
        ..wire::Listener::default()
    };
    let mut made = vec![listener(HTTP, ListenerProtocol::Http)];
    let mut secure = listener(HTTPS, ListenerProtocol::Https);
    match &host.tls {
        Some(Ok(secret)) => secure.certificates.push(names::certificate(secret)),
        Some(Err(why)) => secure.unresolved.clone_from(why),
        None if all
            .iter()
            .any(|other| other.tls.is_some() && covers(other.name, host.name)) =>
        {
            secure.unresolved = format!("no Ingress has a certificate for {}", host.name);
        }
        None => return made,
    }
    made.push(secure);
    made
}

/// The name of a host's listener.
pub(super) fn name(word: &str, host: &str) -> String {
    format!("{word}/{}", if host.is_empty() { "*" } else { host })
}

#[cfg(test)]
mod tests;
