//! The status of a Gateway and of its class. Pure.
//!
//! What is to be said is decided in `waypoint` and `gateway`; here it becomes a status, given the one before, so that
//! nothing new gives the same status.

mod gateway;
mod waypoint;

use serde_json::{Value, json};

use super::class::Role;
use super::features::{FEATURES, MESH_FEATURES};
use super::gateway::Refused;

pub(super) use gateway::told as of_gateway;
pub(super) use waypoint::{told as of_waypoint, was_programmed};

/// The number of ListenerSets in a Gateway's status.
pub(super) const SETS: &str = "attachedListenerSets";

/// How far a Gateway has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The Gateway says something that we can't do.
    Refused(Refused),
    /// Something of its name is somebody else's.
    Conflict(String),
    /// It is deployed.
    Deployed {
        /// Where it is reached, as the status has it.
        addresses: Vec<Value>,
        /// Addresses that were asked for and are not among them.
        missing: Vec<String>,
        /// Instances that have their certificate and all configuration.
        ready: i32,
        /// How many there are to be.
        replicas: i32,
    },
}

impl Progress {
    /// Whether an instance is there, at an address.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Deployed { addresses, ready, .. } if *ready > 0 && !addresses.is_empty())
    }
}

/// One condition's word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    kind: &'static str,
    status: bool,
    reason: String,
    message: String,
}

impl Word {
    fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// What holds, and needs no words.
    fn good(kind: &'static str) -> Self {
        Self::new(kind, true, kind, "")
    }
}

/// What is to be said of a Gateway.
#[derive(Clone, Debug)]
pub(super) struct Told {
    addresses: Vec<Value>,
    conditions: Vec<Word>,
    listeners: Vec<Listener>,
    /// How many ListenerSets are attached.
    sets: usize,
}

/// What is to be said of a listener.
#[derive(Clone, Debug)]
struct Listener {
    name: String,
    attached: u32,
    /// The kinds of route that it takes, all of the Gateway API.
    kinds: Vec<&'static str>,
    conditions: Vec<Word>,
}

/// The whole status, given the one before.
pub(super) fn of(told: &Told, generation: Option<i64>, before: Option<&Value>, now: &str) -> Value {
    let old = |pointer: &str| before.and_then(|b| b.pointer(pointer)?.as_array());
    let write = |words: &[Word], old: Option<&Vec<Value>>| -> Vec<Value> {
        let words = words.iter();
        words
            .map(|word| condition(word, generation, old, now))
            .collect()
    };
    let listeners: Vec<_> = told
        .listeners
        .iter()
        .map(|listener| {
            let listed = old("/listeners").into_iter().flatten();
            let listed = listed.into_iter().find(|l| l["name"] == *listener.name);
            let old = listed.and_then(|l| l["conditions"].as_array());
            let kinds = listener.kinds.iter();
            let kinds =
                kinds.map(|kind| json!({"group": "gateway.networking.k8s.io", "kind": kind}));
            json!({
                "name": listener.name,
                "attachedRoutes": listener.attached,
                "supportedKinds": kinds.collect::<Vec<_>>(),
                "conditions": write(&listener.conditions, old),
            })
        })
        .collect();
    let mut status = json!({
        "addresses": told.addresses,
        "conditions": write(&told.conditions, old("/conditions")),
        "listeners": listeners,
    });
    // Older definitions of Gateways have no place for it.
    let counted = before.is_some_and(|before| before.get(SETS).is_some());
    if told.sets > 0 || counted {
        status[SETS] = told.sets.into();
    }
    status
}

/// How many instances are ready.
fn count(ready: i32, replicas: i32) -> String {
    format!("{ready} of {replicas} instances are ready")
}

/// What was said of `Programmed`, unless nobody has said anything yet.
fn said(before: &Value) -> Option<Word> {
    let conditions = before.get("conditions").and_then(Value::as_array)?;
    let condition = conditions.iter().find(|c| c["type"] == "Programmed")?;
    let text = |key: &str| condition[key].as_str();
    let status = match text("status")? {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    let (reason, message) = (text("reason")?, text("message")?);
    Some(Word::new("Programmed", status, reason, message))
}

/// Addresses as they stand.
fn addresses(before: &Value) -> Vec<Value> {
    let addresses = before.get("addresses").and_then(Value::as_array);
    addresses.cloned().unwrap_or_default()
}

fn condition(word: &Word, generation: Option<i64>, old: Option<&Vec<Value>>, now: &str) -> Value {
    let status = if word.status { "True" } else { "False" };
    let before = old.and_then(|all| all.iter().find(|c| c["type"] == word.kind));
    let since = before
        .filter(|c| c["status"] == status)
        .and_then(|c| c["lastTransitionTime"].as_str());
    let mut condition = json!({
        "type": word.kind,
        "status": status,
        "reason": word.reason,
        "message": word.message,
        "lastTransitionTime": since.unwrap_or(now),
    });
    if let Some(generation) = generation {
        condition["observedGeneration"] = generation.into();
    }
    condition
}

/// The time of a change, to the second as Kubernetes has it.
pub(super) fn now() -> String {
    let now = crate::clock::now().as_second();
    k8s_openapi::jiff::Timestamp::from_second(now)
        .unwrap_or_default()
        .to_string()
}

/// That a class of ours is known, and what its Gateways can do.
pub(super) fn class(
    role: Role,
    has_parameters: bool,
    generation: Option<i64>,
    before: Option<&Value>,
    now: &str,
) -> Value {
    let what = role.as_str();
    let word = if has_parameters {
        let message = "spec.parametersRef: leave it out: a class has no parameters";
        Word::new("Accepted", false, "InvalidParameters", message)
    } else {
        let message = format!("Culvert deploys a {what} for each Gateway of this class");
        Word::new("Accepted", true, "Accepted", message)
    };
    let features = (role == Role::Gateway).then_some(&FEATURES[..]);
    accepted(&word, features, generation, before, now)
}

/// That an XMesh of ours is known, and what the mesh can do.
pub(super) fn mesh(
    has_parameters: bool,
    generation: Option<i64>,
    before: Option<&Value>,
    now: &str,
) -> Value {
    let word = if has_parameters {
        let message =
            "spec.parametersRef: leave it out: the mesh's settings are MeshConfig default";
        Word::new("Accepted", false, "InvalidParameters", message)
    } else {
        let message = "Culvert serves the mesh of this cluster";
        Word::new("Accepted", true, "Accepted", message)
    };
    accepted(&word, Some(&MESH_FEATURES), generation, before, now)
}

fn accepted(
    word: &Word,
    features: Option<&[&str]>,
    generation: Option<i64>,
    before: Option<&Value>,
    now: &str,
) -> Value {
    let old = before.and_then(|before| before.get("conditions"));
    let old = old.and_then(Value::as_array);
    let mut status = json!({"conditions": [condition(word, generation, old, now)]});
    if let Some(features) = features {
        let features = features.iter().map(|name| json!({"name": name}));
        status["supportedFeatures"] = features.collect();
    }
    status
}

#[cfg(test)]
mod tests;
