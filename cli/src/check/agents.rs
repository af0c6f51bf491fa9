//! What the nodes' agents say of themselves: with which rules they capture.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;

use super::facts::{Facts, Mesh, labels, namespace};
use super::finding::{Finding, Severity};
use crate::reach::{self, Answer, Place};

const ADDRESS: &str = "CULVERT_AGENT_ADMIN";

/// Ask every running agent: one that is not ready may say why. The answers are by node.
pub(crate) async fn ask(client: &Client, facts: &Facts) -> Result<BTreeMap<String, Answer>> {
    let agents: Vec<_> = facts.pods.iter().filter_map(place).collect();
    reach::ask(client, &agents, "/config_dump").await
}

/// Node, name and admin port of a running agent.
fn place(pod: &Pod) -> Option<Place> {
    let part = labels(pod)
        .get("app.kubernetes.io/name")
        .map(String::as_str);
    let phase = pod.status.as_ref()?.phase.as_deref();
    if namespace(pod) != culvert_enrolment::SYSTEM_NAMESPACE
        || part != Some("culvert-agent")
        || phase != Some("Running")
    {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let mut env = spec
        .containers
        .iter()
        .flat_map(|it| it.env.as_deref().unwrap_or_default());
    let address = env.find(|it| it.name == ADDRESS)?.value.as_ref()?;
    let (_, port) = address.rsplit_once(':')?;
    Some(Place {
        name: spec.node_name.clone()?,
        pod: pod.metadata.name.clone()?,
        port: port.parse().ok()?,
    })
}

/// The rules that a node's agent makes, if it said so.
pub(crate) fn rules<'a>(facts: &'a Facts, node: &str) -> Option<&'a str> {
    facts.agents.get(node)?.as_ref().ok()?["rules"].as_str()
}

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut kinds = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (node, answer) in &mesh.facts.agents {
        match answer {
            Ok(said) => {
                if let Some(rules) = rules(mesh.facts, node) {
                    kinds.entry(rules).or_default().insert(node);
                }
                if said["cniContended"] == true {
                    findings.push(contended(node));
                }
            }
            Err(error) => findings.push(Finding::new(
                Severity::Warning,
                "unread",
                format!("Node {node}"),
                format!("its agent could not be asked: {error}"),
                "check with credentials that may forward ports to pods in culvert-system, and read the agent's log",
            )),
        }
    }
    if kinds.len() > 1 {
        for (rules, nodes) in kinds {
            let first = nodes.first().copied().unwrap_or_default();
            findings.push(Finding::new(
                Severity::Info,
                "node-rules",
                format!("Node {first}"),
                format!("captures with {rules}, as do {} nodes in all; others do otherwise", nodes.len()),
                "nothing if the nodes are meant to differ; else set the same kube-proxy mode and iptables on all",
            ));
        }
    }
    findings
}

fn contended(node: &str) -> Finding {
    Finding::new(
        Severity::Error,
        "cni-contended",
        format!("Node {node}"),
        "another program takes culvert-cni out of the node's CNI configuration again and again: between its turn and \
         the agent's, new pods are not held until captured",
        "let the network plugin leave other plugins alone (Cilium: --set cni.exclusive=false), or remove the other \
         installation of Culvert; the agent's log names the file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found, object, pod};
    use serde_json::json;

    fn agent(namespace: &str, phase: &str) -> Pod {
        let mut agent = pod(
            namespace,
            "a",
            &[("app.kubernetes.io/name", "culvert-agent")],
        );
        agent.spec = Some(object(json!({"nodeName": "n", "containers": [
            {"name": "agent", "env": [{"name": ADDRESS, "value": "127.0.0.1:15019"}]}]})));
        agent.status = Some(object(json!({"phase": phase})));
        agent
    }

    #[test]
    fn running_agents_of_the_mesh_are_asked_at_their_port() {
        let expected = Some(Place {
            name: "n".to_owned(),
            pod: "a".to_owned(),
            port: 15019,
        });
        assert_eq!(place(&agent("culvert-system", "Running")), expected);
        assert_eq!(place(&agent("culvert-system", "Pending")), None);
        assert_eq!(place(&agent("plain", "Running")), None);
    }

    #[test]
    fn nodes_that_differ_and_agents_that_do_not_answer() {
        let mut facts = facts();
        let says = |rules: &str| Ok(json!({"rules": rules, "pods": {}}));
        facts.agents = [
            ("a".into(), says("nftables")),
            ("b".into(), says("nftables")),
        ]
        .into();
        assert_eq!(found(&facts, None, check), Vec::<String>::new());
        assert_eq!(
            (rules(&facts, "a"), rules(&facts, "z")),
            (Some("nftables"), None)
        );
        facts.agents.insert("c".into(), says("iptables-legacy"));
        assert_eq!(
            found(&facts, None, check),
            ["info node-rules Node c", "info node-rules Node a"]
        );
        let fights = Ok(json!({"rules": "nftables", "pods": {}, "cniContended": true}));
        facts.agents = [("a".into(), fights)].into();
        assert_eq!(found(&facts, None, check), ["error cni-contended Node a"]);
        facts.agents = [("a".into(), Err("refused".into()))].into();
        assert_eq!(found(&facts, None, check), ["warning unread Node a"]);
    }
}
