//! What is said of a gateway.
//!
//! Invariant: it is programmed only where clients reach something: at an address, with a ready instance and a listener that
//! is served; a listener only where the gateway is.

use serde_json::{Value, json};

use super::{Listener, Progress, Refused, Told, Word, addresses, count, said};
use crate::keys;
use crate::translate::listener::{GatewayState, ListenerState};

/// What is to be said of one, given its status before and what became of its listeners. Of those only the ones count that
/// it names now.
pub(in super::super) fn told(
    progress: &Progress,
    before: Option<&Value>,
    names: &[String],
    state: Option<&GatewayState>,
) -> Told {
    let before = before.cloned().unwrap_or(json!({}));
    let named = |listener: &&ListenerState| names.contains(&listener.name);
    let states = state.map(|state| state.listeners.iter().filter(named).collect::<Vec<_>>());
    let accepted = accepted(progress, states.as_deref());
    let served = states.as_deref().unwrap_or_default();
    let programmed = programmed(progress, &before, served.iter().any(|l| is_accepted(l)));
    let unresolved = of(served, |l| is(l, "ResolvedRefs") == Some(false));
    let resolved = if unresolved.is_empty() {
        Word::good("ResolvedRefs")
    } else {
        let message = format!("listeners {unresolved}: see their conditions");
        Word::new("ResolvedRefs", false, "ListenersNotResolved", message)
    };
    let listeners = served.iter();
    let listeners = listeners
        .map(|state| listener(state, &programmed))
        .collect();
    Told {
        addresses: match progress {
            Progress::Deployed { addresses, .. } => addresses.clone(),
            Progress::Refused(_) | Progress::Conflict(_) => addresses(&before),
        },
        conditions: vec![accepted, programmed, resolved],
        listeners,
    }
}

/// What the state says of a condition.
fn is(listener: &ListenerState, condition: &str) -> Option<bool> {
    let mut words = listener.words.iter();
    let word = words.find(|word| word.condition == condition)?;
    Some(word.status)
}

/// Whether anything of it is configured.
fn is_accepted(listener: &ListenerState) -> bool {
    is(listener, "Accepted") != Some(false) && is(listener, "Conflicted") != Some(true)
}

/// The names of some.
fn of(listeners: &[&ListenerState], wanted: impl Fn(&ListenerState) -> bool) -> String {
    let names = listeners.iter().filter(|listener| wanted(listener));
    let names: Vec<_> = names.map(|listener| &*listener.name).collect();
    names.join(", ")
}

fn accepted(progress: &Progress, listeners: Option<&[&ListenerState]>) -> Word {
    let word = |status, reason: &str, message: &str| Word::new("Accepted", status, reason, message);
    if let Progress::Refused(Refused(reason, message)) = progress {
        return word(false, reason, message);
    }
    let Some(listeners) = listeners else {
        return word(false, "Pending", "the controller serves nothing of it");
    };
    let bad = of(listeners, |listener| !is_accepted(listener));
    let message = format!("listeners {bad}: see their conditions");
    if listeners.iter().all(|listener| !is_accepted(listener)) {
        return word(false, "ListenersNotValid", &message);
    }
    if bad.is_empty() {
        Word::good("Accepted")
    } else {
        word(true, "ListenersNotValid", &message)
    }
}

fn programmed(progress: &Progress, before: &Value, any_listener: bool) -> Word {
    let no = |reason: &str, message: &str| Word::new("Programmed", false, reason, message);
    match progress {
        // What was deployed before stays as it is.
        Progress::Refused(_) => said(before)
            .filter(|_| any_listener)
            .unwrap_or_else(|| no("Invalid", "the Gateway is not accepted")),
        Progress::Conflict(message) => no("Conflict", message),
        Progress::Deployed { .. } if !any_listener => no("Invalid", "no listener is accepted"),
        Progress::Deployed { addresses, .. } if addresses.is_empty() => {
            let message = format!(
                "its Service has no address: where nothing gives LoadBalancers one, annotate the Gateway {}: ClusterIP \
                 or NodePort",
                keys::SERVICE_TYPE
            );
            no("AddressNotAssigned", &message)
        }
        Progress::Deployed {
            ready, replicas, ..
        } => {
            let count = count(*ready, *replicas);
            if *ready > 0 {
                Word::new("Programmed", true, "Programmed", count)
            } else {
                no("Pending", &count)
            }
        }
    }
}

/// What the state says, and what follows from it and from the gateway.
fn listener(state: &ListenerState, gateway: &Word) -> Listener {
    let mut conditions: Vec<_> = state
        .words
        .iter()
        .map(|word| Word::new(word.condition, word.status, word.reason, &*word.message))
        .collect();
    for (kind, status, reason) in [
        ("Accepted", true, "Accepted"),
        ("ResolvedRefs", true, "ResolvedRefs"),
        ("Conflicted", false, "NoConflicts"),
    ] {
        if is(state, kind).is_none() {
            conditions.push(Word::new(kind, status, reason, ""));
        }
    }
    if is(state, "Programmed") != Some(false) {
        conditions.retain(|word| word.kind != "Programmed");
        conditions.push(
            if is_accepted(state)
                && (is(state, "Programmed").is_some() || is(state, "ResolvedRefs") != Some(false))
            {
                let message = if gateway.status { "" } else { &gateway.message };
                Word::new("Programmed", gateway.status, &gateway.reason, message)
            } else {
                Word::new("Programmed", false, "Invalid", "see the other conditions")
            },
        );
    }
    conditions.sort_by_key(|word| word.kind);
    Listener {
        name: state.name.clone(),
        attached: state.attached,
        kinds: state.kinds.iter().map(|kind| kind.as_str()).collect(),
        conditions,
    }
}
