//! Uninstalling: the nodes first, while the agents still run; then the objects; then what the controller made.
//!
//! Invariant: no object of ours goes before every node with an agent said that it is released, unless that is forced.

use std::collections::BTreeSet;

use anyhow::Result;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE, title};
use super::manifest::{self, Choices, Objects};
use super::rollout::{Deadline, GaveUp};

/// While this ConfigMap is there, agents release their pods, take the CNI plugin away and write `NODE: released` into it.
const ORDER: &str = "culvert-uninstall";
const CAPTURED: &str = "culvert.dev/Captured";
const WAYPOINTS: &str = "app.kubernetes.io/managed-by=culvert-controller";

/// Release every node, and take the condition from every pod.
pub(crate) async fn prepare(cluster: &Cluster, deadline: Deadline, force: bool) -> Result<()> {
    let objects = manifest::objects(&Choices::default())?;
    let Some(agent) = cluster.get(&objects.agent).await? else {
        println!("no agent is installed: no node to release");
        return Ok(());
    };
    cluster.apply(&order(&agent)).await?;
    let released = deadline
        .wait(|| async {
            let waiting = unreleased(cluster).await?;
            Ok((!waiting.is_empty())
                .then(|| format!("nodes to be released: {}", waiting.join(", "))))
        })
        .await;
    match released {
        Ok(()) => println!("every node is released"),
        Err(error) if force => println!("going on although {error:#}"),
        Err(error) => return Err(match error.downcast::<GaveUp>() {
            Ok(GaveUp(what)) => GaveUp(format!(
                "{what}. Open connections of these nodes' pods may go on for long, or the nodes are down; wait, or say \
                 --force and restart the pods there"
            ))
            .into(),
            Err(error) => error,
        }),
    }
    conditions(cluster, Deadline::within(10)).await
}

/// The order belongs to the agents' DaemonSet and goes with it.
fn order(agent: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ORDER,
            "namespace": NAMESPACE,
            "labels": { "app.kubernetes.io/part-of": "culvert" },
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": agent["metadata"]["name"],
                "uid": agent["metadata"]["uid"],
            }],
        },
    })
}

/// Withdraw the order: agents capture again.
pub(crate) async fn withdraw(cluster: &Cluster) -> Result<()> {
    let order = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ORDER, "namespace": NAMESPACE}});
    if cluster.delete(&order).await? {
        println!("an uninstall that was begun is taken back");
    }
    Ok(())
}

/// Nodes that run an agent which has not said that it is done.
async fn unreleased(cluster: &Cluster) -> Result<Vec<String>> {
    let agents = ListParams::default().labels("app.kubernetes.io/name=culvert-agent");
    let pods = cluster.list("v1", "Pod", Some(NAMESPACE), agents).await?;
    let nodes: BTreeSet<_> = pods
        .iter()
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    let order = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ORDER, "namespace": NAMESPACE}});
    let said = cluster.get(&order).await?.unwrap_or_default();
    let done = |node: &str| said["data"][node] == "released";
    Ok(nodes
        .into_iter()
        .filter(|node| !done(node))
        .map(str::to_owned)
        .collect())
}

/// The controller takes the condition from released pods; where none runs, we do.
async fn conditions(cluster: &Cluster, deadline: Deadline) -> Result<()> {
    let left = deadline
        .wait(|| async {
            let pods = captured(cluster).await?.len();
            Ok((pods > 0).then(|| format!("the condition {CAPTURED} to go from {pods} pods")))
        })
        .await;
    if left.is_ok() {
        return Ok(());
    }
    let pods = captured(cluster).await?;
    for (namespace, name) in &pods {
        let gone = json!({"status": {"conditions": [{"$patch": "delete", "type": CAPTURED}]}});
        cluster.patch_pod_status(namespace, name, &gone).await?;
    }
    println!("took the condition {CAPTURED} from {} pods", pods.len());
    Ok(())
}

async fn captured(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let pods = cluster
        .list("v1", "Pod", None, ListParams::default())
        .await?;
    let has = |pod: &&Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|it| it["type"] == CAPTURED))
    };
    let text = |pod: &Value, field: &str| {
        pod["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let names = pods
        .iter()
        .filter(has)
        .map(|pod| (text(pod, "namespace"), text(pod, "name")));
    Ok(names.collect())
}

/// Delete what was applied, last first; not the namespace, not the definitions.
pub(crate) async fn objects(
    cluster: &Cluster,
    objects: &Objects,
    deadline: Deadline,
) -> Result<usize> {
    let kept = |object: &&Value| object["kind"] != "Namespace";
    let settings = objects.settings.iter().rev().filter(kept);
    let classes = manifest::gateway_classes();
    let workloads = [&objects.ztunnel, &objects.agent, &objects.controller];
    let mut count = 0;
    for object in workloads.into_iter().chain(&classes).chain(settings) {
        if cluster.delete(object).await? {
            println!("{} deleted", title(object));
            count += 1;
        }
    }
    deadline
        .wait(|| async {
            let ours = ListParams::default().labels(
                "app.kubernetes.io/name in (culvert-controller, culvert-agent, culvert-ztunnel)",
            );
            let pods = cluster.list("v1", "Pod", Some(NAMESPACE), ours).await?;
            let names: Vec<String> = pods.iter().map(title).collect();
            Ok((!names.is_empty()).then(|| format!("{} to end", names.join(", "))))
        })
        .await?;
    Ok(count)
}

/// Delete what the controller made: waypoints, the root certificate in their namespaces, its lease.
pub(crate) async fn sweep(cluster: &Cluster) -> Result<usize> {
    let waypoints = [
        ("apps/v1", "Deployment"),
        ("policy/v1", "PodDisruptionBudget"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
    ];
    let mut found = Vec::new();
    for (version, kind) in waypoints {
        let params = ListParams::default().labels(WAYPOINTS);
        found.extend(cluster.list(version, kind, None, params).await?);
    }
    let roots = ListParams::default().fields("metadata.name=culvert-ca-root");
    found.extend(cluster.list("v1", "ConfigMap", None, roots).await?);
    for (version, kind, name) in [
        ("v1", "ConfigMap", ORDER),
        ("v1", "ConfigMap", "culvert-waypoints"),
        ("v1", "ConfigMap", "culvert-ingress-hosts"),
        ("gateway.networking.k8s.io/v1", "Gateway", "culvert-ingress"),
        ("coordination.k8s.io/v1", "Lease", "culvert-controller"),
    ] {
        found.push(json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}));
    }
    let mut count = 0;
    for object in &found {
        if cluster.delete(object).await? {
            println!("{} deleted", title(object));
            count += 1;
        }
    }
    Ok(count)
}

/// The authority's key, the definitions with all objects of theirs, the namespace.
pub(crate) async fn purge(
    cluster: &Cluster,
    objects: &Objects,
    deadline: Deadline,
) -> Result<usize> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "culvert-ca", "namespace": NAMESPACE}});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let all: Vec<&Value> = objects.crds.iter().chain([&secret, &namespace]).collect();
    let mut count = 0;
    for object in &all {
        if cluster.delete(object).await? {
            println!("{} deleted", title(object));
            count += 1;
        }
    }
    deadline
        .wait(|| async {
            let mut left = Vec::new();
            for object in &all {
                if cluster.get(object).await?.is_some() {
                    left.push(title(object));
                }
            }
            Ok((!left.is_empty()).then(|| format!("{} to go", left.join(", "))))
        })
        .await?;
    Ok(count)
}
