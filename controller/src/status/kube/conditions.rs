//! From what the engine found out to an object's `status`. Pure.
//!
//! Invariants: what other controllers wrote into a status stays; the same verdict gives the same status, so that nothing
//! is written twice.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::{Kind, NsName};
use crate::source::kube::Told;
use crate::source::{Effect, Rejection};
use crate::status::document::Condition;

/// Who we are among the controllers that write a route's status.
pub const CONTROLLER: &str = "culvert.dev/controller";
/// Of an object that is not good in itself.
const INVALID: &str = "Invalid";
/// As the API has it.
const MESSAGE: usize = 4096;
/// Parents or ancestors that a status may name.
const MOST: usize = 16;

/// One condition's word.
struct Word {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// The status that an object is to have; none of kinds whose status somebody else writes, nor of a route of others. Which
/// Gateways are ours to speak of is told.
pub(super) fn status(
    kind: Kind,
    namespace: &str,
    told: &Told,
    found: &[Condition],
    rejected: &[Rejection],
    gateways: &BTreeSet<NsName>,
    now: &str,
) -> Option<Value> {
    let of = |list: &str, field: &str, index: usize, before: &Value| {
        let of_another = |condition: &&Condition| {
            let list = format!("{list}[");
            let rest = condition.field.strip_prefix(&list);
            rest.is_some_and(|rest| !rest.starts_with(&format!("{index}]")))
        };
        let here = found.iter().filter(|c| field.is_empty() || !of_another(c));
        conditions(&words(here, found, rejected), told, before, now)
    };
    match kind {
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute => {
            let all = told.status["parents"].as_array().into_iter().flatten();
            let others = all.clone().filter(|p| p["controllerName"] != CONTROLLER);
            let mut parents: Vec<Value> = others.cloned().collect();
            let before = all.clone().count();
            for (i, (parent, seen)) in told.parents(namespace).enumerate().take(MOST) {
                if !seen.is_ours(|name| gateways.contains(name)) {
                    continue;
                }
                let ours =
                    |p: &&Value| p["controllerName"] == CONTROLLER && p["parentRef"] == *parent;
                let before = all.clone().find(ours).map(|p| p["conditions"].clone());
                let before = before.unwrap_or_default();
                parents.push(json!({
                    "parentRef": parent, "controllerName": CONTROLLER,
                    "conditions": of("spec.parentRefs", "parent", i, &before),
                }));
            }
            // Of a route that was never ours nothing is said.
            (before > 0 || !parents.is_empty()).then(|| json!({"parents": parents}))
        }
        Kind::MeshConfig
        | Kind::PeerAuthentication
        | Kind::AuthorizationPolicy
        | Kind::TrafficPolicy
        | Kind::FaultPolicy => {
            let mut ancestors = Vec::new();
            for (i, target) in list(&told.spec["targetRefs"]) {
                let mut reference = target.clone();
                if let (Some(reference), false) = (reference.as_object_mut(), namespace.is_empty())
                {
                    reference
                        .entry("namespace")
                        .or_insert_with(|| namespace.into());
                }
                let known = told.status["ancestors"].as_array().into_iter().flatten();
                let before = known.clone().find(|a| a["ancestorRef"] == reference);
                let before = before.map(|a| a["conditions"].clone()).unwrap_or_default();
                ancestors.push(json!({
                    "ancestorRef": reference, "controllerName": CONTROLLER,
                    "conditions": of("spec.targetRefs", "target", i, &before),
                }));
            }
            let mut status = Map::new();
            let own = of("", "", 0, &told.status["conditions"]);
            status.insert("conditions".into(), own);
            if !ancestors.is_empty() || !told.status["ancestors"].is_null() {
                status.insert("ancestors".into(), ancestors.into());
            }
            Some(Value::Object(status))
        }
        _ => None,
    }
}

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .take(MOST)
}

/// One word for each type: of several that are False the first gives the reason.
fn words<'a>(
    here: impl Iterator<Item = &'a Condition>,
    all: &[Condition],
    rejected: &[Rejection],
) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let line = |field: &str, message: &str| match (field, message) {
        ("", message) => message.to_owned(),
        (field, message) => format!("{field}: {message}"),
    };
    if let Some(first) = rejected.first() {
        let mut lines: Vec<_> = rejected
            .iter()
            .map(|r| line(&r.field, &r.message))
            .collect();
        lines.push(match first.effect {
            Effect::LastGood => "the last good version is in force".into(),
            Effect::None | Effect::FailClosed => "nothing of it is in force".into(),
        });
        words.push(Word {
            kind: "Accepted",
            status: "False",
            reason: INVALID,
            message: lines.join("; "),
        });
    }
    let invalid = words.len();
    for condition in here {
        let Condition {
            kind,
            status,
            reason,
            ..
        } = condition;
        let message = line(&condition.field, &condition.message);
        match words.iter().position(|word| word.kind == *kind) {
            Some(i) if i < invalid => {}
            Some(i) => words[i].message = format!("{}; {message}", words[i].message),
            None => words.push(Word {
                kind,
                status,
                reason,
                message,
            }),
        }
    }
    // What is wrong with another parent is right here.
    for condition in all {
        if words.iter().all(|word| word.kind != condition.kind) {
            words.push(Word {
                kind: condition.kind,
                status: "True",
                reason: condition.kind,
                message: String::new(),
            });
        }
    }
    words.sort_by_key(|word| word.kind);
    words
}

fn conditions(words: &[Word], told: &Told, before: &Value, now: &str) -> Value {
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let condition = |word: &Word| {
        let old = before.iter().find(|c| c["type"] == word.kind);
        let since = old
            .filter(|c| c["status"] == word.status)
            .and_then(|c| c["lastTransitionTime"].as_str());
        json!({
            "type": word.kind, "status": word.status, "reason": word.reason,
            "message": cut(&word.message), "observedGeneration": told.generation,
            "lastTransitionTime": since.unwrap_or(now),
        })
    };
    words.iter().map(condition).collect()
}

fn cut(message: &str) -> &str {
    let end = (0..=MESSAGE.min(message.len())).rev();
    let end = end.into_iter().find(|i| message.is_char_boundary(*i));
    &message[..end.unwrap_or_default()]
}

/// What a status says that is False: type, reason, message.
pub(super) fn bad(status: &Value) -> Vec<(String, String, String)> {
    let parents = status["parents"].as_array().into_iter().flatten();
    let ours = parents.filter(|p| p["controllerName"] == CONTROLLER);
    let lists = std::iter::once(&status["conditions"]).chain(ours.map(|p| &p["conditions"]));
    let all = lists.flat_map(|list| list.as_array().into_iter().flatten());
    let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
    let mut bad: Vec<_> = all
        .filter(|c| c["status"] == "False" && c["type"] != "Conflicted")
        .map(|c| (text(c, "type"), text(c, "reason"), text(c, "message")))
        .collect();
    bad.dedup();
    bad
}

#[cfg(test)]
mod tests;
