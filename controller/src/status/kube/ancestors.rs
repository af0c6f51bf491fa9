//! Statuses of policies of the Gateway API: one entry for each Gateway whose traffic a policy has to do with.
//!
//! Invariants: entries of other controllers stay as they are, in front; there are never more than the API has room for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::conditions::{CONTROLLER, MOST_ANCESTORS, conditions, words};
use crate::model::NsName;
use crate::source::Rejection;
use crate::source::kube::Told;
use crate::status::document::Condition;

/// The status that a policy is to have; none of one that has nothing to do with any Gateway of ours and never had.
pub(super) fn status(
    told: &Told,
    found: &[Condition],
    rejected: &[Rejection],
    gateways: Option<&BTreeSet<NsName>>,
    now: &str,
) -> Option<Value> {
    let all = told.status["ancestors"].as_array().into_iter().flatten();
    let others = all.clone().filter(|a| a["controllerName"] != CONTROLLER);
    let mut ancestors: Vec<Value> = others.cloned().collect();
    let ours = || all.clone().filter(|a| a["controllerName"] == CONTROLLER);
    let room = MOST_ANCESTORS.saturating_sub(ancestors.len());
    let words = words(found.iter(), found, rejected);
    for gateway in gateways.into_iter().flatten().take(room) {
        let reference = json!({
            "group": "gateway.networking.k8s.io", "kind": "Gateway",
            "namespace": gateway.namespace, "name": gateway.name,
        });
        let before = ours().find(|a| a["ancestorRef"] == reference);
        let before = before.map(|a| a["conditions"].clone()).unwrap_or_default();
        ancestors.push(json!({
            "ancestorRef": reference, "controllerName": CONTROLLER,
            "conditions": conditions(&words, told, &before, now),
        }));
    }
    let anything =
        ours().next().is_some() || ancestors.iter().any(|a| a["controllerName"] == CONTROLLER);
    anything.then(|| json!({ "ancestors": ancestors }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(count: usize) -> BTreeSet<NsName> {
        (0..count)
            .map(|n| NsName::new("demo", format!("g{n:02}")))
            .collect()
    }

    fn found() -> [Condition; 2] {
        let condition = |kind, status, reason| {
            Condition::new(kind, status, reason, "why".into(), String::new())
        };
        [
            condition("Accepted", "False", "NoValidCACertificate"),
            condition("ResolvedRefs", "True", "ResolvedRefs"),
        ]
    }

    fn told(status: Value, generation: i64) -> Told {
        Told {
            generation,
            status,
            ..Told::default()
        }
    }

    #[test]
    fn each_gateway_has_an_entry_and_times_change_only_with_the_status() {
        let two = gateways(2);
        let first = status(&told(Value::Null, 1), &found(), &[], Some(&two), "t1").unwrap();
        let ancestors = first["ancestors"].as_array().unwrap();
        assert_eq!(ancestors.len(), 2);
        assert_eq!(
            ancestors[1]["ancestorRef"],
            json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "demo", "name": "g01"})
        );
        let accepted = &ancestors[1]["conditions"][0];
        assert_eq!(
            (&accepted["type"], &accepted["status"], &accepted["reason"]),
            (
                &json!("Accepted"),
                &json!("False"),
                &json!("NoValidCACertificate")
            )
        );
        let second = status(&told(first.clone(), 1), &found(), &[], Some(&two), "t2");
        assert_eq!(second.as_ref(), Some(&first));
        let third = status(&told(first, 2), &found(), &[], Some(&two), "t3").unwrap();
        let accepted = &third["ancestors"][0]["conditions"][0];
        assert_eq!(
            (
                &accepted["observedGeneration"],
                &accepted["lastTransitionTime"]
            ),
            (&json!(2), &json!("t1"))
        );
    }

    #[test]
    fn what_others_say_stays_and_there_is_no_more_than_there_is_room_for() {
        let foreign = json!({"ancestorRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": []});
        let before = json!({"ancestors": [foreign]});
        let many = gateways(20);
        let made = status(&told(before.clone(), 1), &found(), &[], Some(&many), "t").unwrap();
        let ancestors = made["ancestors"].as_array().unwrap();
        assert_eq!((ancestors.len(), &ancestors[0]), (16, &foreign));
        // Nobody is concerned any more: our entries go, and what is not ours was never touched.
        assert_eq!(
            status(&told(made, 1), &found(), &[], None, "t"),
            Some(before.clone())
        );
        assert_eq!(status(&told(before, 1), &found(), &[], None, "t"), None);
    }
}
