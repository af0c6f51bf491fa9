//! The conditions of a Gateway and of its class. Pure.

use serde_json::{Value, json};

use super::gateway::Refused;

/// How far a waypoint has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The Gateway says something that we can't do.
    Refused(Refused),
    /// Something of its name is somebody else's.
    Conflict(String),
    /// It is deployed.
    Deployed {
        /// The Service's.
        addresses: Vec<String>,
        /// Instances that have their certificate and all configuration.
        ready: i32,
        /// How many there are to be.
        replicas: i32,
    },
}

impl Progress {
    /// Whether the Gateway is to say that it is programmed.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Deployed { addresses, ready, .. } if *ready > 0 && !addresses.is_empty())
    }
}

/// One instance at least was ready once; none is now. From then on traffic is refused rather than let past it.
const NO_READY_INSTANCE: &str = "NoReadyInstance";

/// The whole status, given the one before.
pub(super) fn of(
    generation: Option<i64>,
    before: Option<&Value>,
    listeners: &[String],
    progress: &Progress,
    now: &str,
) -> Value {
    let before = before.cloned().unwrap_or(json!({}));
    let old = |pointer: &str| before.pointer(pointer).and_then(Value::as_array);
    let words = words(progress, &before);
    let make = |kind: &str, (status, reason, message): &Word, old: Option<&Vec<Value>>| {
        condition(kind, *status, reason, message, generation, old, now)
    };
    let top = old("/conditions");
    let conditions: Vec<_> = [
        ("Accepted", &words.accepted),
        ("Programmed", &words.programmed),
        ("ResolvedRefs", &words.resolved),
    ]
    .into_iter()
    .map(|(kind, word)| make(kind, word, top))
    .collect();
    let listeners: Vec<_> = listeners
        .iter()
        .map(|name| {
            let listed = old("/listeners").and_then(|all| all.iter().find(|l| l["name"] == **name));
            let old = listed.and_then(|l| l["conditions"].as_array());
            let no_conflict = (false, "NoConflicts".to_owned(), String::new());
            json!({
                "name": name,
                "attachedRoutes": 0,
                "supportedKinds": [],
                "conditions": [
                    make("Accepted", &words.accepted, old),
                    make("Programmed", &words.programmed, old),
                    make("ResolvedRefs", &words.resolved, old),
                    make("Conflicted", &no_conflict, old),
                ],
            })
        })
        .collect();
    let addresses: Vec<_> = words
        .addresses
        .iter()
        .map(|address| json!({"type": "IPAddress", "value": address}))
        .collect();
    json!({"addresses": addresses, "conditions": conditions, "listeners": listeners})
}

type Word = (bool, String, String);

struct Words {
    accepted: Word,
    programmed: Word,
    resolved: Word,
    addresses: Vec<String>,
}

fn words(progress: &Progress, before: &Value) -> Words {
    let was_programmed = was_programmed(before);
    let word = |status, reason: &str, message: String| (status, reason.to_owned(), message);
    let good = |reason: &str| word(true, reason, String::new());
    let pending = |reason: &str, message: String| {
        if was_programmed {
            let message = format!("{message}: traffic to what it serves is refused");
            word(false, NO_READY_INSTANCE, message)
        } else {
            let message = format!("{message}: traffic goes direct until then");
            word(false, reason, message)
        }
    };
    let (accepted, programmed, addresses) = match progress {
        // What was deployed before stays as it is.
        Progress::Refused(Refused(reason, message)) => (
            word(false, reason, message.clone()),
            said(before)
                .unwrap_or_else(|| pending("Invalid", "the Gateway is not accepted".into())),
            addresses(before),
        ),
        Progress::Conflict(message) => (
            good("Accepted"),
            pending("Conflict", message.clone()),
            addresses(before),
        ),
        Progress::Deployed {
            addresses,
            ready,
            replicas,
        } => {
            let count = format!("{ready} of {replicas} instances are ready");
            let programmed = match (*ready > 0, addresses.is_empty()) {
                (_, true) => pending("AddressNotAssigned", "its Service has no address".into()),
                (true, false) => word(true, "Programmed", count),
                (false, false) => pending("Pending", count),
            };
            (good("Accepted"), programmed, addresses.clone())
        }
    };
    Words {
        accepted,
        programmed,
        resolved: good("ResolvedRefs"),
        addresses,
    }
}

/// The condition as it stands.
fn said(before: &Value) -> Option<Word> {
    let conditions = before.get("conditions").and_then(Value::as_array)?;
    let condition = conditions.iter().find(|c| c["type"] == "Programmed")?;
    let text = |key: &str| condition[key].as_str().map(str::to_owned);
    Some((
        condition["status"] == "True",
        text("reason")?,
        text("message")?,
    ))
}

/// Addresses as they stand.
fn addresses(before: &Value) -> Vec<String> {
    let addresses = before.get("addresses").and_then(Value::as_array);
    let values = addresses.into_iter().flatten();
    values
        .filter_map(|a| a["value"].as_str().map(str::to_owned))
        .collect()
}

/// Whether an instance was ever ready, by what was written of it. That outlives every controller.
pub(super) fn was_programmed(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| {
        c["type"] == "Programmed" && (c["status"] == "True" || c["reason"] == NO_READY_INSTANCE)
    })
}

fn condition(
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    old: Option<&Vec<Value>>,
    now: &str,
) -> Value {
    let status = if status { "True" } else { "False" };
    let before = old.and_then(|all| all.iter().find(|c| c["type"] == kind));
    let since = before
        .filter(|c| c["status"] == status)
        .and_then(|c| c["lastTransitionTime"].as_str());
    let mut condition = json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
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

/// That a class of ours is known.
pub(super) fn class(generation: Option<i64>, before: Option<&Value>, now: &str) -> Value {
    let old = before
        .and_then(|b| b.get("conditions"))
        .and_then(Value::as_array);
    let message = "Culvert deploys a waypoint for each Gateway of this class";
    json!({"conditions": [condition("Accepted", true, "Accepted", message, generation, old, now)]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
        let conditions = status["conditions"].as_array().unwrap();
        let c = conditions.iter().find(|c| c["type"] == kind).unwrap();
        let text = |key: &str| c[key].as_str().unwrap();
        (text("status"), text("reason"), text("lastTransitionTime"))
    }

    fn deployed(ready: i32) -> Progress {
        Progress::Deployed {
            addresses: vec!["10.96.0.9".into()],
            ready,
            replicas: 2,
        }
    }

    #[test]
    fn pending_then_programmed_then_mandatory() {
        let mesh = ["mesh".to_owned()];
        let first = of(Some(1), None, &mesh, &deployed(0), "t1");
        assert_eq!(word(&first, "Accepted"), ("True", "Accepted", "t1"));
        assert_eq!(word(&first, "Programmed"), ("False", "Pending", "t1"));
        assert!(!was_programmed(&first));
        let second = of(Some(1), Some(&first), &mesh, &deployed(1), "t2");
        assert_eq!(word(&second, "Programmed"), ("True", "Programmed", "t2"));
        assert_eq!(word(&second, "Accepted").2, "t1");
        assert!(was_programmed(&second));
        let third = of(Some(2), Some(&second), &mesh, &deployed(0), "t3");
        assert_eq!(
            word(&third, "Programmed"),
            ("False", NO_READY_INSTANCE, "t3")
        );
        assert!(was_programmed(&third));
        // Nor is it forgotten when something else is wrong, too.
        let refused = Progress::Refused(Refused("Invalid", "x".into()));
        let fourth = of(Some(3), Some(&third), &mesh, &refused, "t4");
        assert_eq!(word(&fourth, "Accepted"), ("False", "Invalid", "t4"));
        assert_eq!(fourth["addresses"], third["addresses"]);
        assert!(was_programmed(&fourth));
        // Nothing new is nothing new.
        assert_eq!(of(Some(3), Some(&fourth), &mesh, &refused, "t5"), fourth);
    }

    #[test]
    fn somebody_elses_object_is_named() {
        let conflict = Progress::Conflict("Service demo/waypoint is not this Gateway's".into());
        let status = of(None, None, &[], &conflict, "t");
        assert_eq!(word(&status, "Programmed"), ("False", "Conflict", "t"));
        let message = status["conditions"][1]["message"].as_str().unwrap();
        assert!(message.contains("Service demo/waypoint"), "{message}");
    }
}
