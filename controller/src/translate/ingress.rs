//! Gateways of class `culvert`: what their instances are told. What became of their listeners is in `state`.
//!
//! Invariant: a certificate is made for a gateway only if it names the Secret itself, for backends or for a listener of its
//! own or of its ListenerSets, and the Secret's namespace permits that. Listeners that ask clients for certificates are never
//! told without the authorities to judge them by.

mod client;
mod resolve;
mod secret;
mod state;

use std::collections::BTreeSet;

use culvert_proto::waypoint::{self as wire, ListenerProtocol};

use super::finding::{ConditionType, Finding, Findings};
use super::names;
use super::resource::{Message, Resource};
use crate::keys;
use crate::model::{Gateway, Key, Kind, Listener, NsName, Obj, Protocol};
use crate::path::FieldPath;
use crate::world::World;
use client::{Client, client};
use resolve::{Authorities, Resolved, resolve};

pub use state::state;

/// What versions say that cannot ask clients for certificates.
const ASKS: &str = "clients have to show a certificate, which this version cannot ask for";

/// Whether an instance serves what the gateway is told, by its own word or by its Gateway's.
#[must_use]
pub fn is_programmed(world: &World, gateway: &NsName) -> bool {
    let object = world.cache.gateways.get(gateway);
    let said = |object: &Obj<Gateway>| object.meta.annotations.contains_key(keys::PROGRAMMED);
    world.waypoints.is_connected(gateway) || object.is_some_and(|object| said(object))
}

/// The gateway and its certificates, and what is wrong with these and with its ListenerSets.
#[must_use]
pub fn of(world: &World, gateway: &Obj<Gateway>) -> (Vec<Resource>, Vec<Finding>) {
    let name = &gateway.meta.name;
    let listeners = world.listeners(name).unwrap_or_default();
    let authorities = Authorities::of(world, gateway);
    let mut told = Told::default();
    let mut findings = Vec::new();
    let mut of_object = Findings::new(key(name, None));
    let client = client(world, gateway);
    if let Some((reason, message)) = &client.wrong {
        let at = FieldPath::of("spec.tls.backend.clientCertificateRef");
        let condition = ConditionType::ResolvedRefs;
        of_object.error(condition, reason, at, message.clone());
    }
    let mut place = (None, 0);
    for listener in listeners {
        if place.0 != listener.set {
            let next = Findings::new(key(name, listener.set.as_ref()));
            findings.extend(std::mem::replace(&mut of_object, next).into_vec());
            place = (listener.set.clone(), 0);
        }
        let at = FieldPath::of("spec.listeners").index(place.1);
        place.1 += 1;
        let resolved = resolve(world, name, listener, &authorities);
        if let Some((reason, message)) = &resolved.wrong {
            let condition = ConditionType::ResolvedRefs;
            of_object.error(condition, reason, at.clone(), message.clone());
        }
        match &listener.refused {
            Some(refused) => {
                let (reason, message) = (refused.reason, refused.message.clone());
                of_object.error(ConditionType::Accepted, reason, at, message);
            }
            None => told.add(listener, resolved, &authorities),
        }
    }
    findings.extend(of_object.into_vec());
    findings.extend(of_sets(world, name));
    if !is_programmed(world, name) {
        let mut own = Findings::new(key(name, None));
        let message = "no instance is ready yet";
        own.note(
            ConditionType::Programmed,
            "Pending",
            FieldPath::root(),
            message,
        );
        findings.extend(own.into_vec());
    }
    (told.resources(world, name, &client), findings)
}

fn key(gateway: &NsName, set: Option<&NsName>) -> Key {
    let (kind, name) = match set {
        None => (Kind::Gateway, gateway),
        Some(set) => (Kind::ListenerSet, set),
    };
    Key {
        kind,
        name: name.clone(),
    }
}

/// Sets that the Gateway does not allow.
pub(super) fn of_sets(world: &World, gateway: &NsName) -> Vec<Finding> {
    let sets = world.merged(gateway).map(|merged| merged.sets.as_slice());
    let refused = sets.unwrap_or_default().iter().filter(|set| !set.allowed);
    let finding = |set: &NsName| {
        let mut findings = Findings::new(key(gateway, Some(set)));
        let at = FieldPath::of("spec.parentRef");
        let message = format!("Gateway {gateway} does not allow it");
        findings.error(ConditionType::Accepted, "NotAllowed", at, message);
        findings.into_vec()
    };
    refused.flat_map(|set| finding(&set.name)).collect()
}

/// What instances are told while it is gathered.
#[derive(Default)]
struct Told {
    listeners: Vec<wire::Listener>,
    secrets: BTreeSet<NsName>,
    validations: Vec<wire::ClientValidation>,
}

impl Told {
    fn add(&mut self, listener: &Listener, resolved: Resolved, authorities: &Authorities) {
        let validation = if listener.terminates() {
            let asked = authorities.at(listener.port);
            asked.and_then(|asked| asked.wire.clone())
        } else {
            None
        };
        let mut record = record(listener, &resolved);
        if let Some(validation) = validation.filter(|_| !resolved.is_unusable()) {
            record.unresolved = ASKS.into();
            record.client_validation = self.validation(validation);
        }
        self.listeners.push(record);
        self.secrets.extend(resolved.secrets);
    }

    /// Its number, from 1.
    fn validation(&mut self, wanted: wire::ClientValidation) -> u32 {
        let known = self.validations.iter().position(|known| *known == wanted);
        let at = known.unwrap_or_else(|| {
            self.validations.push(wanted);
            self.validations.len() - 1
        });
        u32::try_from(at + 1).unwrap_or(u32::MAX)
    }

    fn resources(mut self, world: &World, gateway: &NsName, client: &Client) -> Vec<Resource> {
        self.secrets.extend(client.secret.clone());
        let client_certificate = client.secret.as_ref().map(names::certificate);
        let message = wire::Gateway {
            namespace: gateway.namespace.to_string(),
            name: gateway.name.to_string(),
            listeners: self.listeners,
            authorizations: authorizations(world, gateway),
            client_certificate: client_certificate.unwrap_or_default(),
            client_certificate_unresolved: client.refused(),
            client_validations: self.validations,
        };
        let mut made = vec![Resource {
            name: names::gateway(gateway).into(),
            aliases: Vec::new(),
            message: Message::Gateway(message),
        }];
        made.extend(certificates(world, self.secrets));
        made
    }
}

/// What these Secrets hold.
pub(super) fn certificates(
    world: &World,
    secrets: BTreeSet<NsName>,
) -> impl Iterator<Item = Resource> {
    secrets.into_iter().filter_map(|name| {
        let pair = world.cache.secrets.get(&name)?.spec.pair.as_ref()?;
        let message = wire::Certificate {
            chain: pair.chain.to_string(),
            key: pair.key.to_string(),
        };
        Some(Resource {
            name: names::certificate(&name).into(),
            aliases: Vec::new(),
            message: Message::Certificate(message.into()),
        })
    })
}

/// Secrets that the gateway's instances are told.
#[must_use]
pub fn secrets(world: &World, gateway: &Obj<Gateway>) -> BTreeSet<NsName> {
    let name = &gateway.meta.name;
    let listeners = world.listeners(name).unwrap_or_default().iter();
    let served = listeners.filter(|l| l.refused.is_none());
    let none = Authorities::default();
    served
        .flat_map(|listener| resolve(world, name, listener, &none).secrets)
        .chain(client(world, gateway).secret)
        .collect()
}

/// Policies that every connection to a gateway must pass.
pub(super) fn authorizations(world: &World, gateway: &NsName) -> Vec<String> {
    let policies = world.cache.authorization_policies.of(&gateway.namespace);
    let targeting = policies.filter(|policy| {
        let mut targets = policy.spec.target_refs.iter();
        targets.any(|t| t.kind == "Gateway" && *t.name == *gateway.name)
    });
    targeting
        .map(|policy| policy.meta.name.to_string())
        .collect()
}

fn record(listener: &Listener, resolved: &Resolved) -> wire::Listener {
    let protocol = match listener.protocol {
        Protocol::Http => ListenerProtocol::Http,
        Protocol::Https => ListenerProtocol::Https,
        Protocol::Tls => ListenerProtocol::Tls,
        Protocol::Tcp => ListenerProtocol::Tcp,
        Protocol::Unknown => ListenerProtocol::Unspecified,
    };
    let message = resolved.wrong.as_ref().map(|(_, message)| message.clone());
    wire::Listener {
        name: listener.full_name(),
        port: listener.port.into(),
        protocol: protocol.into(),
        hostname: listener.hostname.clone(),
        certificates: resolved.secrets.iter().map(names::certificate).collect(),
        unresolved: message
            .filter(|_| resolved.is_unusable())
            .unwrap_or_default(),
        one_label: false,
        client_validation: 0,
    }
}

#[cfg(test)]
mod tests;
