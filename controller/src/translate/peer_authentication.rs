//! PeerAuthentication as authorization: to be strict is to deny whoever has no identity.
//!
//! Precedence: the port's word, the workload's (with a selector), the namespace's (without one), the mesh's (without one,
//! in the root namespace), else PERMISSIVE. Of several of one reach the oldest counts.

use std::collections::{BTreeMap, BTreeSet};

use culvert_proto::istio::security::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match::MatchType,
};

use super::resource::{Message, Resource};
use crate::api::{Mode, PeerAuthenticationSpec};
use crate::model::{NsName, Obj, Pod};
use crate::world::World;

/// In the root namespace; named by workloads that are strict on all ports.
const STRICT: &str = "istio_converted_static_strict";
/// Before the name of an object that makes exceptions for ports.
const CONVERTED: &str = "converted_peer_authentication_";

type Policy = Obj<PeerAuthenticationSpec>;

/// The policy that makes a pod strict, if anything does.
#[must_use]
pub fn policy_of(world: &World, pod: &Obj<Pod>) -> Option<String> {
    let namespace = &pod.meta.name.namespace;
    let own = own(world, pod);
    if let Some(own) = own
        && !exceptions(world, own).is_empty()
    {
        return Some(format!("{namespace}/{CONVERTED}{}", own.meta.name.name));
    }
    (mode_of(world, pod, own) == Mode::Strict).then(|| strict_name(world).to_string())
}

/// Whether a pod is strict on every port but some, or on some only; and which.
#[must_use]
pub fn ports_of(world: &World, pod: &Obj<Pod>) -> (bool, BTreeSet<u16>) {
    let own = own(world, pod);
    let every = mode_of(world, pod, own) == Mode::Strict;
    let others = own.map(|own| exceptions(world, own)).unwrap_or_default();
    let ports = others
        .into_iter()
        .filter(|(_, mode)| (*mode == Mode::Strict) != every);
    (every, ports.map(|(port, _)| port).collect())
}

/// The policy that has a word on this pod alone.
fn own<'a>(world: &'a World, pod: &Obj<Pod>) -> Option<&'a Policy> {
    let policies = world
        .cache
        .peer_authentications
        .of(&pod.meta.name.namespace);
    oldest(policies.filter(|policy| {
        let selector = policy.spec.selector.as_ref();
        selects_some(policy) && selector.is_some_and(|s| s.matches(&pod.meta.labels))
    }))
}

/// What holds for a pod's ports but for exceptions.
fn mode_of(world: &World, pod: &Obj<Pod>, own: Option<&Policy>) -> Mode {
    own.map_or_else(
        || namespace_mode(world, &pod.meta.name.namespace),
        |own| default_mode(world, own),
    )
}

/// The policy of workloads that are strict on all ports.
#[must_use]
pub fn strict(world: &World) -> Resource {
    let not_principals = vec![anyone()];
    resource(
        &strict_name(world),
        Match {
            not_principals,
            ..Match::default()
        },
    )
}

/// The policy of an object that makes exceptions for ports; none of another one.
#[must_use]
pub fn of(world: &World, policy: &Policy) -> Option<Resource> {
    let exceptions = exceptions(world, policy);
    if exceptions.is_empty() {
        return None;
    }
    let ports = exceptions.keys().copied().map(Into::into).collect();
    let mut m = Match {
        not_principals: vec![anyone()],
        ..Match::default()
    };
    if default_mode(world, policy) == Mode::Strict {
        m.not_destination_ports = ports;
    } else {
        m.destination_ports = ports;
    }
    let NsName { namespace, name } = &policy.meta.name;
    let name = NsName::new(namespace.clone(), format!("{CONVERTED}{name}"));
    Some(resource(&name, m))
}

fn strict_name(world: &World) -> NsName {
    NsName::new(world.settings.root_namespace(), STRICT)
}

fn selects_some(policy: &Policy) -> bool {
    policy
        .spec
        .selector
        .as_ref()
        .is_some_and(|s| !s.match_labels.is_empty())
}

fn oldest<'a>(policies: impl Iterator<Item = &'a std::sync::Arc<Policy>>) -> Option<&'a Policy> {
    policies
        .min_by(|a, b| a.meta.seniority().cmp(&b.meta.seniority()))
        .map(|policy| &**policy)
}

/// What holds in a namespace for workloads that have no word of their own.
fn namespace_mode(world: &World, namespace: &str) -> Mode {
    let word = |namespace: &str| {
        let policies = world.cache.peer_authentications.of(namespace);
        let policy = oldest(policies.filter(|policy| !selects_some(policy)));
        policy.map_or(Mode::Unset, |policy| policy.spec.mtls.mode)
    };
    word(namespace)
        .or(word(world.settings.root_namespace()))
        .or(Mode::Permissive)
}

/// What holds for a selected workload's ports but for exceptions.
fn default_mode(world: &World, policy: &Policy) -> Mode {
    policy
        .spec
        .mtls
        .mode
        .or(namespace_mode(world, &policy.meta.name.namespace))
}

/// Ports for which something else holds than for the rest.
fn exceptions(world: &World, policy: &Policy) -> BTreeMap<u16, Mode> {
    let default = default_mode(world, policy);
    let ports = policy
        .spec
        .port_level_mtls
        .iter()
        .map(|(port, tls)| (*port, tls.mode.or(default)));
    ports
        .filter(|(_, mode)| selects_some(policy) && *mode != default)
        .collect()
}

/// Matches whoever has an identity.
pub(super) fn anyone() -> StringMatch {
    StringMatch {
        match_type: Some(MatchType::Presence(())),
    }
}

fn resource(name: &NsName, m: Match) -> Resource {
    let rule = Rule {
        clauses: vec![Clause { matches: vec![m] }],
    };
    let record = Authorization {
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        rules: vec![rule],
        ..Authorization::default()
    };
    Resource {
        name: name.to_string().into(),
        aliases: Vec::new(),
        message: Message::Authorization(record),
    }
}

#[cfg(test)]
mod tests;
