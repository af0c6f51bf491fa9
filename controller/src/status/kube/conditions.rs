//! From what the engine found out to an object's `status`. Pure.
//!
//! Invariants: what other controllers wrote into a status stays; the same verdict gives the same status, so that nothing
//! is written twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::listener_set;
use crate::model::{Key, Kind, NsName};
use crate::source::kube::Told;
use crate::source::{Effect, Rejection};
use crate::status::document::Condition;
use crate::status::sets::SetVerdict;

/// Who we are among the controllers that write a route's status.
pub const CONTROLLER: &str = "culvert.dev/controller";
/// Of an object that is not good in itself.
pub(super) const INVALID: &str = "Invalid";
/// As the API has it.
const MESSAGE: usize = 4096;
/// Parents that a route's status may name, as the API has it; those of others are among them.
const MOST_PARENTS: usize = 32;
/// The same for a policy's ancestors.
pub(super) const MOST_ANCESTORS: usize = 16;

/// One condition's word.
pub(super) struct Word {
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is ours to speak of.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// Gateways of class `culvert`.
    pub(super) gateways: BTreeSet<NsName>,
    /// Their ListenerSets, and what became of each.
    pub(super) sets: BTreeMap<NsName, SetVerdict>,
    /// ListenerSets whose Gateway does not exist.
    pub(super) orphans: BTreeSet<NsName>,
}

/// The status that an object is to have; none of kinds whose status somebody else writes, nor of a route of others.
pub(super) fn status(
    key: &Key,
    told: &Told,
    found: &[Condition],
    rejected: &[Rejection],
    ours: &Ours,
    now: &str,
) -> Option<Value> {
    let namespace = &*key.name.namespace;
    let of = |list: &str, field: &str, index: usize, before: &Value| {
        let elsewhere = |condition: &&Condition| {
            let list = format!("{list}[");
            let rest = condition.field.strip_prefix(&list);
            rest.is_some_and(|rest| !rest.starts_with(&format!("{index}]")))
        };
        let here = found.iter().filter(|c| field.is_empty() || !elsewhere(c));
        conditions(&words(here, found, rejected), told, before, now)
    };
    match key.kind {
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute => {
            let (mut parents, before) = of_another(&told.status["parents"]);
            for (i, (parent, seen)) in told.parents(namespace).enumerate() {
                if parents.len() >= MOST_PARENTS {
                    break;
                }
                let gateways = |name: &NsName| ours.gateways.contains(name);
                if !seen.is_ours(gateways, |name| ours.sets.contains_key(name)) {
                    continue;
                }
                let before = said(&told.status["parents"], "parentRef", parent);
                parents.push(json!({
                    "parentRef": parent, "controllerName": CONTROLLER,
                    "conditions": of("spec.parentRefs", "parent", i, before),
                }));
            }
            // Of a route that was never ours nothing is said.
            (before > 0 || !parents.is_empty()).then(|| json!({"parents": parents}))
        }
        Kind::XBackendTrafficPolicy => {
            let (mut ancestors, before) = of_another(&told.status["ancestors"]);
            // Other backends are for other controllers to speak of.
            let service = |target: &Value| target["kind"] == "Service";
            add_ancestors(&mut ancestors, namespace, told, service, of);
            (before > 0 || !ancestors.is_empty()).then(|| json!({"ancestors": ancestors}))
        }
        Kind::MeshConfig
        | Kind::PeerAuthentication
        | Kind::AuthorizationPolicy
        | Kind::TrafficPolicy
        | Kind::FaultPolicy
        | Kind::EgressPolicy => {
            let mut ancestors = Vec::new();
            add_ancestors(&mut ancestors, namespace, told, |_| true, of);
            let mut status = Map::new();
            let own = of("", "", 0, &told.status["conditions"]);
            status.insert("conditions".into(), own);
            if !ancestors.is_empty() || !told.status["ancestors"].is_null() {
                status.insert("ancestors".into(), ancestors.into());
            }
            Some(Value::Object(status))
        }
        Kind::ServiceEntry => {
            let own = of("", "", 0, &told.status["conditions"]);
            Some(json!({"conditions": own}))
        }
        Kind::ListenerSet => {
            if ours.orphans.contains(&key.name) {
                return listener_set::orphan(told, now);
            }
            let verdict = ours.sets.get(&key.name);
            listener_set::status(verdict, told, rejected, now)
        }
        _ => None,
    }
}

/// What other controllers say, which is theirs to change, and how much was said in all.
fn of_another(all: &Value) -> (Vec<Value>, usize) {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let others = all.iter().filter(|one| one["controllerName"] != CONTROLLER);
    (others.cloned().collect(), all.len())
}

/// The conditions that we have for this reference.
fn said<'a>(all: &'a Value, field: &str, reference: &Value) -> &'a Value {
    let mut all = all.as_array().into_iter().flatten();
    let known = all.find(|one| one["controllerName"] == CONTROLLER && one[field] == *reference);
    known.map_or(&Value::Null, |one| &one["conditions"])
}

/// Adds what we say of each target of a policy, as far as there is room.
fn add_ancestors(
    ancestors: &mut Vec<Value>,
    namespace: &str,
    told: &Told,
    speaks_of: impl Fn(&Value) -> bool,
    of: impl Fn(&str, &str, usize, &Value) -> Value,
) {
    let targets = told.spec["targetRefs"].as_array().into_iter().flatten();
    for (i, target) in targets.enumerate() {
        if ancestors.len() >= MOST_ANCESTORS {
            break;
        }
        if !speaks_of(target) {
            continue;
        }
        let mut reference = target.clone();
        if let (Some(reference), false) = (reference.as_object_mut(), namespace.is_empty()) {
            let namespace = || namespace.into();
            reference.entry("namespace").or_insert_with(namespace);
        }
        let before = said(&told.status["ancestors"], "ancestorRef", &reference);
        ancestors.push(json!({
            "ancestorRef": reference, "controllerName": CONTROLLER,
            "conditions": of("spec.targetRefs", "target", i, before),
        }));
    }
}

/// One word for each type: of several that are False the first gives the reason.
pub(super) fn words<'a>(
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

pub(super) fn conditions(words: &[Word], told: &Told, before: &Value, now: &str) -> Value {
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
    // Where there are conditions of the whole, those of ancestors repeat them.
    let whole = &status["conditions"];
    let parts = if whole.is_null() {
        [&status["parents"], &status["ancestors"]]
    } else {
        [&Value::Null; 2]
    };
    let parts = parts.into_iter().filter_map(Value::as_array).flatten();
    let ours = parts.filter(|p| p["controllerName"] == CONTROLLER);
    let lists = std::iter::once(whole).chain(ours.map(|p| &p["conditions"]));
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
