//! What is known of the cluster, and which of its pods are in the mesh or about to be.
//!
//! Invariant: checks see nothing but this, so that each is a pure function.

use std::collections::BTreeMap;

use culvert_enrolment::{self as enrolment, Map, Outside, foreign, keys};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use serde_json::Value;

use crate::reach::Answer;

/// Objects of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The API server's, like `v1.36.3`.
    pub(crate) version: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) services: Vec<Service>,
    pub(crate) network_policies: Vec<NetworkPolicy>,
    pub(crate) ingresses: Vec<Ingress>,
    pub(crate) daemon_sets: Vec<DaemonSet>,
    pub(crate) deployments: Vec<Deployment>,
    /// ConfigMap kube-system/cilium-config.
    pub(crate) cilium: Option<Map>,
    /// What has no generated types, by kind.
    pub(crate) others: BTreeMap<&'static str, Vec<Value>>,
    /// Names of resource definitions, and the Gateway API version that they say they are of.
    pub(crate) definitions: BTreeMap<String, Option<String>>,
    /// What each node's agent says of itself.
    pub(crate) agents: BTreeMap<String, Answer>,
    /// Kinds that could not be read, and why.
    pub(crate) unread: Vec<(String, String)>,
}

impl Facts {
    /// Whether all of these kinds could be read: of the others nobody can say that something is missing.
    pub(crate) fn saw(&self, kinds: &[&str]) -> bool {
        !self
            .unread
            .iter()
            .any(|(kind, _)| kinds.contains(&kind.as_str()))
    }

    /// Objects of a kind without generated types.
    pub(crate) fn others(&self, kind: &str) -> &[Value] {
        self.others.get(kind).map_or(&[], Vec::as_slice)
    }
}

/// The cluster as the mesh has it, or will when `joining` is enrolled.
#[derive(Debug)]
pub(crate) struct Mesh<'a> {
    pub(crate) facts: &'a Facts,
    joining: Option<&'a str>,
    pods: Vec<(&'a Pod, Result<(), Outside>)>,
    namespaces: BTreeMap<&'a str, Map>,
}

impl<'a> Mesh<'a> {
    pub(crate) fn new(facts: &'a Facts, joining: Option<&'a str>) -> Self {
        let mut namespaces: BTreeMap<&str, Map> = BTreeMap::new();
        for it in &facts.namespaces {
            let name = it.metadata.name.as_deref().unwrap_or_default();
            namespaces.insert(name, it.metadata.labels.clone().unwrap_or_default());
        }
        if let Some(name) = joining {
            let labels = namespaces.entry(name).or_default();
            labels.insert(keys::DATAPLANE_MODE.into(), "ambient".into());
        }
        let pods = facts.pods.iter().map(|pod| (pod, decide(pod, &namespaces)));
        Self {
            facts,
            joining,
            pods: pods.collect(),
            namespaces,
        }
    }

    /// All pods in the mesh.
    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .filter(|(_, it)| it.is_ok())
            .map(|(pod, _)| *pod)
    }

    /// The pods that findings are wanted of, with what is decided over each.
    pub(crate) fn concerned(&self) -> impl Iterator<Item = (&'a Pod, Result<(), Outside>)> {
        self.pods
            .iter()
            .copied()
            .filter(|(pod, _)| self.concerns(namespace(pod)))
    }

    /// Those of them that are in the mesh.
    pub(crate) fn concerned_members(&self) -> impl Iterator<Item = &'a Pod> {
        self.concerned()
            .filter(|(_, it)| it.is_ok())
            .map(|(pod, _)| pod)
    }

    /// Whether findings of this namespace are wanted.
    pub(crate) fn concerns(&self, namespace: &str) -> bool {
        self.joining.is_none_or(|it| it == namespace)
    }

    /// Whether this pod is in the mesh.
    pub(crate) fn has(&self, pod: &Pod) -> bool {
        decide(pod, &self.namespaces).is_ok()
    }

    /// Whether this namespace's pods are in the mesh if they say nothing else.
    pub(crate) fn enrolled(&self, namespace: &str) -> bool {
        let mode = self
            .namespaces
            .get(namespace)
            .and_then(|it| it.get(keys::DATAPLANE_MODE));
        mode.map(String::as_str) == Some("ambient")
    }

    /// A namespace's labels.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> Option<&Map> {
        self.namespaces.get(namespace)
    }
}

fn decide(pod: &Pod, namespaces: &BTreeMap<&str, Map>) -> Result<(), Outside> {
    let own = |key: &str| labels(pod).get(key).map(String::as_str);
    let place = namespaces.get(namespace(pod));
    let namespace_mode = place.and_then(|it| it.get(keys::DATAPLANE_MODE));
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    enrolment::decide(&enrolment::Pod {
        namespace: namespace(pod),
        namespace_mode: namespace_mode.map(String::as_str),
        mode: own(keys::DATAPLANE_MODE),
        gateway_class: own(keys::GATEWAY_CLASS),
        foreign: foreign::mark(annotations(pod)),
        host_network: pod
            .spec
            .as_ref()
            .is_some_and(|it| it.host_network == Some(true)),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
    })
}

static NONE: Map = Map::new();

pub(crate) fn labels(pod: &Pod) -> &Map {
    pod.metadata.labels.as_ref().unwrap_or(&NONE)
}

pub(crate) fn annotations(pod: &Pod) -> &Map {
    pod.metadata.annotations.as_ref().unwrap_or(&NONE)
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// What made the pod, as people know it: its Deployment rather than its ReplicaSet.
pub(crate) fn workload(pod: &Pod) -> String {
    let namespace = namespace(pod);
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|it| it.controller == Some(true)) else {
        return format!(
            "Pod {namespace}/{}",
            pod.metadata.name.as_deref().unwrap_or_default()
        );
    };
    let hash = labels(pod).get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str()));
    match deployment.and_then(|it| it.strip_suffix('-')) {
        Some(name) if owner.kind == "ReplicaSet" => format!("Deployment {namespace}/{name}"),
        _ => format!("{} {namespace}/{}", owner.kind, owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, pod};

    #[test]
    fn members_are_those_of_labelled_namespaces_and_of_the_one_that_joins() {
        let mut facts = facts();
        facts.pods = vec![pod("plain", "a", &[]), pod("meshed", "b", &[])];
        let names = |joining| {
            let mesh = Mesh::new(&facts, joining);
            let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
            (
                mesh.members().map(name).collect::<Vec<_>>(),
                mesh.concerned_members().map(name).collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(None), (vec!["b".into()], vec!["b".into()]));
        assert_eq!(
            names(Some("plain")),
            (vec!["a".into(), "b".into()], vec!["a".into()])
        );
    }

    #[test]
    fn a_pod_is_shown_as_what_made_it() {
        let mut it = pod("x", "web-5d7-abc", &[("pod-template-hash", "5d7")]);
        assert_eq!(workload(&it), "Pod x/web-5d7-abc");
        it.metadata.owner_references = Some(vec![serde_json::from_value(serde_json::json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d7", "uid": "1", "controller": true,
        })).expect("an owner")]);
        assert_eq!(workload(&it), "Deployment x/web");
    }
}
