//! What became of a gateway's listeners and of its ListenerSets'.

use std::collections::BTreeMap;

use super::client::client;
use super::resolve::{Authorities, Resolved, resolve};
use crate::model::{Gateway, Listener, Obj};
use crate::translate::listener::{GatewayState, ListenerState, ListenerWord, SetState};
use crate::world::{Member, World};

/// What became of the listeners, given how many routes are attached to each by its full name.
#[must_use]
pub fn state(
    world: &World,
    gateway: &Obj<Gateway>,
    attached: &BTreeMap<String, u32>,
) -> GatewayState {
    let name = &gateway.meta.name;
    let all = world.listeners(name).unwrap_or_default();
    let authorities = Authorities::of(world, gateway);
    let listener = |listener: &Listener| ListenerState {
        name: listener.name.clone(),
        attached: attached
            .get(&listener.full_name())
            .copied()
            .unwrap_or_default(),
        kinds: listener.kinds.clone(),
        words: words(listener, &resolve(world, name, listener, &authorities)),
    };
    let sets = world.merged(name).map(|merged| merged.sets.as_slice());
    let set = |member: &Member| {
        let listeners = all.get(member.listeners.clone()).unwrap_or_default();
        SetState {
            name: member.name.clone(),
            allowed: member.allowed,
            listeners: listeners.iter().map(listener).collect(),
        }
    };
    let told = all
        .iter()
        .filter(|l| l.set.is_some() && l.refused.is_none());
    GatewayState {
        listeners: all
            .iter()
            .filter(|l| l.set.is_none())
            .map(listener)
            .collect(),
        client_certificate: client(world, gateway).wrong,
        sets: sets.unwrap_or_default().iter().map(set).collect(),
        set_ports: told.map(|listener| listener.port).collect(),
        insecure: gateway.spec.frontend.all().any(|asked| asked.fallback),
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
    let serves = !resolved.is_unusable() && !listener.kinds.is_empty();
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
            let accepted = match &resolved.wrong {
                // Told all the same, so that its hosts are refused and nobody else gets them.
                Some((_, message)) if resolved.lacks_authority => {
                    word("Accepted", false, "NoValidCACertificate", message)
                }
                _ => word("Accepted", true, "Accepted", ""),
            };
            let conflicted = word("Conflicted", false, "NoConflicts", "");
            (accepted, conflicted, programmed)
        }
    };
    vec![accepted, programmed, refs, conflicted]
}
