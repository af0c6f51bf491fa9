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
    let sets = state.map_or(0, GatewayState::attached_sets);
    let accepted = accepted(progress, states.as_deref(), sets > 0);
    let served = states.as_deref().unwrap_or_default();
    let any = sets > 0 || served.iter().any(|l| is_accepted(l));
    let programmed = programmed(progress, &before, any);
    let client = state.and_then(|state| state.client_certificate.as_ref());
    let resolved = resolved(served, client);
    let listeners = served.iter();
    let listeners = listeners
        .map(|state| listener(state, &programmed))
        .collect();
    let mut conditions = vec![accepted, programmed, resolved];
    if state.is_some_and(|state| state.insecure) {
        conditions.push(insecure());
    }
    Told {
        addresses: match progress {
            Progress::Deployed { addresses, .. } => addresses.clone(),
            Progress::Refused(_) | Progress::Conflict(_) => addresses(&before),
        },
        conditions,
        listeners,
        sets: match progress {
            Progress::Refused(_) => 0,
            Progress::Deployed { .. } | Progress::Conflict(_) => sets,
        },
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

/// As the specification demands it to be said.
fn insecure() -> Word {
    let message = "spec.tls.frontend: mode AllowInsecureFallback serves clients without a good certificate, too";
    let kind = "InsecureFrontendValidationMode";
    Word::new(kind, true, "ConfigurationChanged", message)
}

/// The Gateway's own reference goes before those of its listeners, which have conditions of their own.
fn resolved(listeners: &[&ListenerState], client: Option<&(&'static str, String)>) -> Word {
    let unresolved = of(listeners, |l| is(l, "ResolvedRefs") == Some(false));
    let listeners = format!("listeners {unresolved}: see their conditions");
    let no = |reason: &str, message: String| Word::new("ResolvedRefs", false, reason, message);
    match client {
        None if unresolved.is_empty() => Word::good("ResolvedRefs"),
        None => no("ListenersNotResolved", listeners),
        Some((reason, message)) => {
            let own = format!("tls.backend.clientCertificateRef: {message}");
            let all = [own, listeners];
            let count = if unresolved.is_empty() { 1 } else { 2 };
            no(reason, all[..count].join("; "))
        }
    }
}

fn accepted(progress: &Progress, listeners: Option<&[&ListenerState]>, any_set: bool) -> Word {
    let word = |status, reason: &str, message: &str| Word::new("Accepted", status, reason, message);
    if let Progress::Refused(Refused(reason, message)) = progress {
        return word(false, reason, message);
    }
    let Some(listeners) = listeners else {
        return word(false, "Pending", "the controller serves nothing of it");
    };
    let bad = of(listeners, |listener| !is_accepted(listener));
    let message = format!("listeners {bad}: see their conditions");
    if !any_set && listeners.iter().all(|listener| !is_accepted(listener)) {
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
        Progress::Deployed { missing, .. } if !missing.is_empty() => {
            let message = format!(
                "spec.addresses: its Service has not got {}",
                missing.join(", ")
            );
            no("AddressNotUsable", &message)
        }
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
