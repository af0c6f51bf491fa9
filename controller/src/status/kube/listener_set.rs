//! The status of a ListenerSet. Pure.
//!
//! Invariants: it is accepted if the Gateway allows it and a listener of it is served, and programmed only where its Gateway
//! is. Of the Gateway and of other sets it tells no more than that.

use serde_json::{Value, json};

use super::conditions::{Word, conditions, words};
use crate::source::Rejection;
use crate::source::kube::Told;
use crate::status::sets::SetVerdict;
use crate::translate::listener::ListenerState;

/// What it is to be. None: its Gateway is not ours, and nothing was ever said by us.
pub(super) fn status(
    verdict: Option<&SetVerdict>,
    told: &Told,
    rejected: &[Rejection],
    now: &str,
) -> Option<Value> {
    let before = &told.status;
    if !rejected.is_empty() {
        let mut invalid = words([].into_iter(), &[], rejected);
        let message = invalid.first().map(|word| word.message.clone());
        invalid.push(Word {
            kind: "Programmed",
            status: "False",
            reason: "Invalid",
            message: message.unwrap_or_default(),
        });
        let conditions = conditions(&invalid, told, &before["conditions"], now);
        return Some(json!({ "conditions": conditions }));
    }
    let verdict = verdict?;
    let listeners = verdict.state.listeners.iter();
    let listeners = listeners.map(|state| listener(state, verdict, told, now));
    Some(json!({
        "conditions": conditions(&of_set(verdict), told, &before["conditions"], now),
        "listeners": listeners.collect::<Vec<_>>(),
    }))
}

/// What one is to be whose Gateway is gone, if anybody said that it is accepted.
pub(super) fn orphan(told: &Told, now: &str) -> Option<Value> {
    let before = &told.status["conditions"];
    let said = before.as_array().into_iter().flatten();
    let mut accepted = said.filter(|c| c["type"] == "Accepted" && c["status"] == "True");
    accepted.next()?;
    let message = "spec.parentRef: there is no such Gateway";
    let words = [
        word("Accepted", false, "ParentNotAccepted", message),
        word("Programmed", false, "ParentNotProgrammed", message),
    ];
    Some(json!({"conditions": conditions(&words, told, before, now), "listeners": []}))
}

fn word(kind: &'static str, status: bool, reason: &'static str, message: &str) -> Word {
    Word {
        kind,
        status: if status { "True" } else { "False" },
        reason,
        message: message.to_owned(),
    }
}

fn of_set(verdict: &SetVerdict) -> Vec<Word> {
    let SetVerdict {
        state,
        parent_refused,
        parent_programmed,
    } = verdict;
    let both = |reason: &'static str, message: &str| {
        ["Accepted", "Programmed"].map(|kind| word(kind, false, reason, message))
    };
    if !state.allowed {
        let message = "spec.parentRef: the Gateway does not allow ListenerSets of this namespace";
        return both("NotAllowed", message).into();
    }
    let bad: Vec<_> = state.listeners.iter().filter(|l| !l.is_served()).collect();
    let bad: Vec<_> = bad.iter().map(|listener| &*listener.name).collect();
    let message = format!("listeners {}: see their conditions", bad.join(", "));
    if !state.is_accepted() {
        return both("ListenersNotValid", &message).into();
    }
    if *parent_refused {
        let message = "the Gateway is not accepted";
        return vec![
            word("Accepted", false, "ParentNotAccepted", message),
            word("Programmed", false, "ParentNotProgrammed", message),
        ];
    }
    let accepted = if bad.is_empty() {
        word("Accepted", true, "Accepted", "")
    } else {
        word("Accepted", true, "ListenersNotValid", &message)
    };
    let programmed = if *parent_programmed {
        word("Programmed", true, "Programmed", "")
    } else {
        let message = "the Gateway is not programmed";
        word("Programmed", false, "ParentNotProgrammed", message)
    };
    vec![accepted, programmed]
}

fn listener(state: &ListenerState, verdict: &SetVerdict, told: &Told, now: &str) -> Value {
    let pending = !verdict.parent_programmed || verdict.parent_refused;
    let mut words: Vec<_> = state
        .words
        .iter()
        .map(|said| {
            if said.condition == "Programmed" && said.status && pending {
                let message = "the Gateway is not programmed";
                return word("Programmed", false, "Pending", message);
            }
            word(said.condition, said.status, said.reason, &said.message)
        })
        .collect();
    words.sort_by_key(|word| word.kind);
    let listed = told.status["listeners"].as_array().into_iter().flatten();
    let before = listed.into_iter().find(|l| l["name"] == *state.name);
    let before = before.map(|l| l["conditions"].clone()).unwrap_or_default();
    let kinds = state.kinds.iter();
    let kinds =
        kinds.map(|kind| json!({"group": "gateway.networking.k8s.io", "kind": kind.as_str()}));
    json!({
        "name": state.name,
        "attachedRoutes": state.attached,
        "supportedKinds": kinds.collect::<Vec<_>>(),
        "conditions": conditions(&words, told, &before, now),
    })
}

#[cfg(test)]
mod tests;
