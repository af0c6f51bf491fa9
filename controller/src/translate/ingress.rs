//! Gateways of class `culvert`: what their instances are told, and what became of their listeners.
//!
//! Invariant: a certificate is made for a gateway only if a listener of it names the Secret, and the Secret's namespace
//! permits that.

use std::collections::{BTreeMap, BTreeSet};

use culvert_proto::waypoint::{self as wire, ListenerProtocol};

use super::finding::{ConditionType, Finding, Findings};
use super::listener::{GatewayState, ListenerState, ListenerWord};
use super::resource::{Message, Resource};
use super::{names, refs};
use crate::keys;
use crate::model::{Gateway, Key, Kind, Listener, NsName, Obj, Protocol};
use crate::path::FieldPath;
use crate::world::World;

/// Whether an instance serves what the gateway is told, by its own word or by its Gateway's.
#[must_use]
pub fn is_programmed(world: &World, gateway: &NsName) -> bool {
    let object = world.cache.gateways.get(gateway);
    let said = |object: &Obj<Gateway>| object.meta.annotations.contains_key(keys::PROGRAMMED);
    world.waypoints.is_connected(gateway) || object.is_some_and(|object| said(object))
}

/// The gateway and the certificates of its listeners.
#[must_use]
pub fn of(
    world: &World,
    gateway: &NsName,
    listeners: &[Listener],
) -> (Vec<Resource>, Vec<Finding>) {
    let mut findings = Findings::new(Key {
        kind: Kind::Gateway,
        name: gateway.clone(),
    });
    let (mut served, mut secrets) = (Vec::new(), BTreeSet::new());
    for (i, listener) in listeners.iter().enumerate() {
        let at = FieldPath::of("spec.listeners").index(i);
        let resolved = resolve(world, gateway, listener);
        if let Some((reason, message)) = &resolved.wrong {
            let condition = ConditionType::ResolvedRefs;
            findings.error(condition, reason, at.clone(), message.clone());
        }
        match &listener.refused {
            Some(refused) => findings.error(
                ConditionType::Accepted,
                refused.reason,
                at,
                refused.message.clone(),
            ),
            None => {
                served.push(record(listener, &resolved));
                secrets.extend(resolved.secrets);
            }
        }
    }
    if !is_programmed(world, gateway) {
        let message = "no instance is ready yet";
        let condition = ConditionType::Programmed;
        findings.note(condition, "Pending", FieldPath::root(), message);
    }
    let message = wire::Gateway {
        namespace: gateway.namespace.to_string(),
        name: gateway.name.to_string(),
        listeners: served,
        authorizations: authorizations(world, gateway),
    };
    let mut made = vec![Resource {
        name: names::gateway(gateway).into(),
        aliases: Vec::new(),
        message: Message::Gateway(message),
    }];
    made.extend(certificates(world, secrets));
    (made, findings.into_vec())
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
pub fn secrets(world: &World, gateway: &NsName, listeners: &[Listener]) -> BTreeSet<NsName> {
    let served = listeners.iter().filter(|l| l.refused.is_none());
    served
        .flat_map(|listener| resolve(world, gateway, listener).secrets)
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
        name: listener.name.clone(),
        port: listener.port.into(),
        protocol: protocol.into(),
        hostname: listener.hostname.clone(),
        certificates: resolved.secrets.iter().map(names::certificate).collect(),
        unresolved: message
            .filter(|_| resolved.lacks_certificate)
            .unwrap_or_default(),
        one_label: false,
    }
}

/// What a listener's references lead to.
#[derive(Debug, Default)]
struct Resolved {
    /// Secrets with a certificate that may be used.
    secrets: Vec<NsName>,
    /// It needs a certificate and has none.
    lacks_certificate: bool,
    /// The first that is wrong gives the word.
    wrong: Option<(&'static str, String)>,
}

impl Resolved {
    fn add(&mut self, reason: &'static str, message: String) {
        match &mut self.wrong {
            Some((_, all)) => *all = format!("{all}; {message}"),
            None => self.wrong = Some((reason, message)),
        }
    }
}

fn resolve(world: &World, gateway: &NsName, listener: &Listener) -> Resolved {
    const INVALID: &str = "InvalidCertificateRef";
    let mut resolved = Resolved::default();
    if listener.terminates() {
        if listener.certificates.is_empty() {
            resolved.add(INVALID, "tls.certificateRefs: is empty".into());
        }
        for reference in &listener.certificates {
            let namespace = reference.namespace.as_deref();
            let namespace = namespace.unwrap_or(&gateway.namespace);
            let name = NsName::new(namespace, reference.name.as_str());
            if !matches!(reference.group.as_str(), "" | "core") || reference.kind != "Secret" {
                let message = format!("{}/{} is no Secret", reference.group, reference.kind);
                resolved.add(INVALID, message);
                continue;
            }
            let own = &gateway.namespace;
            if !refs::permitted(world, Kind::Gateway, own, Kind::Secret, &name) {
                let message =
                    format!("Secret {name} is in another namespace, which does not permit it");
                resolved.add("RefNotPermitted", message);
                continue;
            }
            let Some(secret) = world.cache.secrets.get(&name) else {
                let message = format!("there is no Secret {name} of type kubernetes.io/tls");
                resolved.add(INVALID, message);
                continue;
            };
            let good = secret.spec.pair.is_some();
            if let Some(problem) = &secret.spec.problem {
                let rest = if good {
                    ": the last good one is in force"
                } else {
                    ""
                };
                resolved.add(INVALID, format!("Secret {name}: {problem}{rest}"));
            }
            if good && !resolved.secrets.contains(&name) {
                resolved.secrets.push(name);
            }
        }
        resolved.lacks_certificate = resolved.secrets.is_empty();
    }
    if !listener.strange_kinds.is_empty() {
        let message = format!(
            "allowedRoutes.kinds: {} cannot be attached to it",
            listener.strange_kinds.join(", ")
        );
        resolved.add("InvalidRouteKinds", message);
    }
    resolved
}

/// What became of the listeners, given how many routes are attached to each.
#[must_use]
pub fn state(
    world: &World,
    gateway: &NsName,
    listeners: &[Listener],
    attached: &BTreeMap<String, u32>,
) -> GatewayState {
    let listeners = listeners.iter().map(|listener| ListenerState {
        name: listener.name.clone(),
        attached: attached.get(&listener.name).copied().unwrap_or_default(),
        kinds: listener.kinds.clone(),
        words: words(listener, &resolve(world, gateway, listener)),
    });
    GatewayState {
        listeners: listeners.collect(),
    }
}

fn words(listener: &Listener, resolved: &Resolved) -> Vec<ListenerWord> {
    let word = |condition, status, reason, message: &str| ListenerWord {
        condition,
        status,
        reason,
        message: message.to_owned(),
    };
    let refs = match &resolved.wrong {
        Some((reason, message)) => word("ResolvedRefs", false, reason, message),
        None => word("ResolvedRefs", true, "ResolvedRefs", ""),
    };
    let serves = !resolved.lacks_certificate && !listener.kinds.is_empty();
    let (accepted, conflicted, programmed) = match &listener.refused {
        Some(refused) => {
            let (reason, message) = (refused.reason, refused.message.as_str());
            let conflicted = if refused.conflict {
                word("Conflicted", true, reason, message)
            } else {
                word("Conflicted", false, "NoConflicts", "")
            };
            let programmed = if refused.conflict { reason } else { "Invalid" };
            (
                word("Accepted", false, reason, message),
                conflicted,
                word("Programmed", false, programmed, message),
            )
        }
        None => {
            let programmed = match &resolved.wrong {
                Some((_, message)) if !serves => word("Programmed", false, "Invalid", message),
                _ => word("Programmed", true, "Programmed", ""),
            };
            let conflicted = word("Conflicted", false, "NoConflicts", "");
            (
                word("Accepted", true, "Accepted", ""),
                conflicted,
                programmed,
            )
        }
    };
    vec![accepted, programmed, refs, conflicted]
}

#[cfg(test)]
mod tests;
