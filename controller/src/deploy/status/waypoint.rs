//! What is said of a waypoint.
//!
//! Invariant: one that was ready once is mandatory from then on, and its status says so whatever else is wrong.

use serde_json::{Value, json};

use super::{Listener, Progress, Refused, Told, Word, addresses, count, said};

/// One instance at least was ready once; none is now. From then on traffic is refused rather than let past it.
pub(super) const NO_READY_INSTANCE: &str = "NoReadyInstance";

/// What is to be said of one with these listeners, given its status before.
pub(in super::super) fn told(
    progress: &Progress,
    before: Option<&Value>,
    listeners: &[String],
) -> Told {
    let before = before.cloned().unwrap_or(json!({}));
    let (accepted, programmed, addresses) = words(progress, &before);
    let conditions = vec![accepted, programmed, Word::good("ResolvedRefs")];
    let of_listener = |name: &String| {
        let mut conditions = conditions.clone();
        conditions.push(Word::new("Conflicted", false, "NoConflicts", ""));
        Listener {
            name: name.clone(),
            attached: 0,
            kinds: Vec::new(),
            conditions,
        }
    };
    Told {
        addresses,
        listeners: listeners.iter().map(of_listener).collect(),
        conditions,
        sets: 0,
    }
}

fn words(progress: &Progress, before: &Value) -> (Word, Word, Vec<Value>) {
    let was_programmed = was_programmed(before);
    let pending = |reason: &str, message: String| {
        if was_programmed {
            let message = format!("{message}: traffic to what it serves is refused");
            Word::new("Programmed", false, NO_READY_INSTANCE, message)
        } else {
            let message = format!("{message}: traffic goes direct until then");
            Word::new("Programmed", false, reason, message)
        }
    };
    match progress {
        // What was deployed before stays as it is.
        Progress::Refused(Refused(reason, message)) => (
            Word::new("Accepted", false, reason, message),
            said(before)
                .unwrap_or_else(|| pending("Invalid", "the Gateway is not accepted".into())),
            addresses(before),
        ),
        Progress::Conflict(message) => (
            Word::good("Accepted"),
            pending("Conflict", message.clone()),
            addresses(before),
        ),
        Progress::Deployed {
            addresses,
            ready,
            replicas,
            ..
        } => {
            let count = count(*ready, *replicas);
            let programmed = match (*ready > 0, addresses.is_empty()) {
                (_, true) => pending("AddressNotAssigned", "its Service has no address".into()),
                (true, false) => Word::new("Programmed", true, "Programmed", count),
                (false, false) => pending("Pending", count),
            };
            (Word::good("Accepted"), programmed, addresses.clone())
        }
    }
}

/// Whether an instance was ever ready, by what was written of it. That outlives every controller.
pub(in super::super) fn was_programmed(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| {
        c["type"] == "Programmed" && (c["status"] == "True" || c["reason"] == NO_READY_INSTANCE)
    })
}
