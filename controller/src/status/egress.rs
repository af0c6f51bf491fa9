//! Whether those who are to enforce EgressPolicies do.
//!
//! Invariant: a ztunnel that takes workloads and no EgressPolicies, as one that is not Culvert's, lets its pods reach what
//! they like; every policy that holds for such a pod says so.

use std::collections::{BTreeMap, BTreeSet};

use super::document::View;
use crate::engine::{Client, Component};
use crate::model::{Key, Kind, NsName};
use crate::path::FieldPath;
use crate::translate::{ConditionType, Finding, Type, egress, enrolment};

/// What is to be said of policies that hold for pods of such nodes.
pub(super) fn unaware(view: &View<'_>) -> Vec<Finding> {
    let mut nodes: BTreeMap<NsName, BTreeSet<&str>> = BTreeMap::new();
    for node in view.components.nodes() {
        if !is_unaware(view, node) {
            continue;
        }
        let pods = view.world.index.pods_on(node);
        let pods = pods.filter_map(|name| view.world.cache.pods.get(name));
        for pod in pods.filter(|pod| enrolment::is_enrolled(view.world, pod)) {
            for name in egress::policies_of(view.world, pod) {
                let Some((namespace, name)) = name.split_once('/') else {
                    continue;
                };
                let policy = NsName::new(namespace, name);
                nodes.entry(policy).or_default().insert(node);
            }
        }
    }
    nodes.into_iter().map(finding).collect()
}

fn is_unaware(view: &View<'_>, node: &str) -> bool {
    let client = Client::Node(node.into());
    let ztunnel = view.components.get(&client, Component::Ztunnel);
    ztunnel.is_some_and(|state| {
        let takes = |kind| state.takes.contains(&kind);
        state.streams > 0 && takes(Type::Address) && !takes(Type::EgressPolicy)
    })
}

fn finding((name, nodes): (NsName, BTreeSet<&str>)) -> Finding {
    let nodes: Vec<_> = nodes.into_iter().collect();
    Finding {
        object: Key {
            kind: Kind::EgressPolicy,
            name,
        },
        condition: ConditionType::Enforced,
        reason: "ProxyUnaware",
        field: FieldPath::of("spec"),
        message: format!(
            "is not enforced on nodes whose ztunnel does not know EgressPolicies: {}",
            nodes.join(", ")
        ),
        error: false,
    }
}
