//! Ingress objects: all of them are served by one gateway, which is told a listener for each host and, of each Ingress, a
//! route for each of its hosts.
//!
//! Invariants: a host's listener has it to itself, so that neither a wildcard nor a default backend takes over what
//! another Ingress has, be it that this one cannot be served; where hosts belong to namespaces, what a second namespace
//! says of a host is not served and said to be refused.

pub mod claims;
mod class;
mod gateway;
mod route;
mod rule;

use std::collections::BTreeMap;

use super::listener::{GatewayState, ListenerState, ListenerWord, SetState};
use crate::model::NsName;
use crate::world::{Member, World};

pub use class::is_ours;
pub(super) use gateway::{HTTP, HTTPS};
pub use gateway::{of, secrets};
pub use route::{Made, of as route};

/// So many hosts are named in a sentence.
const MOST: usize = 8;

/// Whether this is the gateway that serves Ingresses.
#[must_use]
pub fn is_gateway(world: &World, name: &NsName) -> bool {
    world.ingresses.gateway() == name
}

/// Whether there is any Ingress to serve.
#[must_use]
pub fn any(world: &World) -> bool {
    let mut all = world.cache.ingresses.iter();
    all.any(|ingress| is_ours(world, &ingress.spec))
}

/// What is said of the gateway's two ports, given how many Ingresses each has.
#[must_use]
pub fn state(world: &World, attached: &BTreeMap<String, u32>) -> GatewayState {
    let word = |condition, status, reason| ListenerWord {
        condition,
        status,
        reason,
        message: String::new(),
    };
    let listener = |name: &str, resolved: ListenerWord| ListenerState {
        name: name.to_owned(),
        attached: attached.get(name).copied().unwrap_or_default(),
        // Routes of the Gateway API are attached to Gateways of their own.
        kinds: Vec::new(),
        words: vec![
            word("Accepted", true, "Accepted"),
            word("Programmed", true, "Programmed"),
            resolved,
            word("Conflicted", false, "NoConflicts"),
        ],
    };
    let resolved = || word("ResolvedRefs", true, "ResolvedRefs");
    let secure = match gateway::unproven(world).as_slice() {
        [] => resolved(),
        hosts => ListenerWord {
            message: format!(
                "{} hosts have no usable certificate, see their Ingresses: {}",
                hosts.len(),
                hosts
                    .iter()
                    .take(MOST)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            ..word("ResolvedRefs", false, "InvalidCertificateRef")
        },
    };
    let sets = world.merged(world.ingresses.gateway());
    let sets = sets.map(|merged| merged.sets.as_slice());
    GatewayState {
        listeners: vec![listener(HTTP.0, resolved()), listener(HTTPS.0, secure)],
        sets: sets.unwrap_or_default().iter().map(refused).collect(),
        ..GatewayState::default()
    }
}

/// A ListenerSet that names the gateway: it takes listeners of none.
fn refused(set: &Member) -> SetState {
    SetState {
        name: set.name.clone(),
        allowed: false,
        listeners: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
