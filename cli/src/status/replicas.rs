//! One status out of what each replica of the controller says: a component is connected to one of them, and that one
//! knows.
//!
//! Invariant: who has somebody connected is believed about them before who has not; what nobody knows is not made up.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::reach::{self, Place};

const PORT: u16 = 15014;

/// What the controllers of a cluster say.
pub(super) async fn ask(client: &kube::Client) -> Result<Value> {
    let places: Vec<_> = reach::pods(client, "culvert-controller")
        .await?
        .iter()
        .filter_map(|pod| pod.metadata.name.clone())
        .map(|pod| Place {
            name: pod.clone(),
            pod,
            port: PORT,
        })
        .collect();
    if places.is_empty() {
        bail!(
            "no controller of Culvert is ready in {} (without Kubernetes: --config DIR)",
            culvert_enrolment::SYSTEM_NAMESPACE
        );
    }
    let mut documents = Vec::new();
    for (pod, answer) in reach::ask(client, &places, "/status").await? {
        documents.push(answer.map_err(|error| anyhow::anyhow!("asking {pod}: {error}"))?);
    }
    merge(documents).context("no controller answered")
}

/// One out of many.
fn merge(documents: Vec<Value>) -> Option<Value> {
    let mut documents = documents.into_iter();
    let mut all = documents.next()?;
    for other in documents {
        join(&mut all["nodes"], &other["nodes"], merge_node);
        join(&mut all["waypoints"], &other["waypoints"], |one, other| {
            if other["connected"] == true && one["connected"] != true {
                *one = other.clone();
            }
        });
    }
    Some(all)
}

/// Joins two lists of what has a namespace and a name.
fn join(all: &mut Value, others: &Value, merge: impl Fn(&mut Value, &Value)) {
    let key = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        (text("namespace"), text("name"))
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut by_name: BTreeMap<_, _> = list(all).into_iter().map(|one| (key(&one), one)).collect();
    for other in list(others) {
        match by_name.get_mut(&key(&other)) {
            Some(one) => merge(one, &other),
            None => {
                by_name.insert(key(&other), other);
            }
        }
    }
    *all = by_name.into_values().collect();
}

fn merge_node(one: &mut Value, other: &Value) {
    // Each part brings along what only it tells.
    for (part, told) in [("agent", "pods"), ("ztunnel", "certificates")] {
        if other[part]["connected"] == true && one[part]["connected"] != true {
            one[part] = other[part].clone();
            one[told] = other[told].clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_connected_somewhere_is_connected() {
        let node = |agent: bool, ztunnel: bool, pods: Value, certificates: Value| {
            json!({"name": "n1", "agent": {"connected": agent}, "ztunnel": {"connected": ztunnel},
                "pods": pods, "certificates": certificates})
        };
        let pods = json!([{"name": "web", "capture": "captured"}]);
        let unknown = json!([{"name": "web", "capture": ""}]);
        let certificates = json!([{"identity": "a"}]);
        let waypoint =
            |connected: bool| json!({"namespace": "a", "name": "w", "connected": connected});
        let first = json!({"trustDomain": "t", "waypoints": [waypoint(false)],
            "nodes": [node(true, false, pods.clone(), json!([])), {"name": "n0"}]});
        let second = json!({"trustDomain": "t", "waypoints": [waypoint(true), {"namespace": "b", "name": "w"}],
            "nodes": [node(false, true, unknown, certificates.clone())]});
        let whole = json!([{"name": "n0"}, node(true, true, pods, certificates)]);
        for documents in [vec![first.clone(), second.clone()], vec![second, first]] {
            let merged = merge(documents).unwrap();
            assert_eq!(merged["nodes"], whole);
            assert_eq!(
                merged["waypoints"],
                json!([waypoint(true), {"namespace": "b", "name": "w"}])
            );
        }
        assert!(merge(Vec::new()).is_none());
    }
}
