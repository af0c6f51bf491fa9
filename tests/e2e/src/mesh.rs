//! Culvert on the cluster: installed by its chart, removed, looked at.

use crate::{
    cluster::Cluster,
    kubectl::{PATIENCE, condition, conditions, name, pause},
    link::Link,
    node::NODES,
    run::root,
};
use anyhow::{Context, Result, bail, ensure};
use culvert_lab::wait;
use serde_json::Value;
use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

/// The mesh's own namespace.
pub const SYSTEM: &str = "culvert-system";
/// What enrols a namespace or a pod.
pub const LABEL: &str = "culvert.dev/dataplane-mode";
/// The condition that says a pod is captured.
pub const CAPTURED: &str = "culvert.dev/Captured";
/// The three programs of every installation.
pub const WORKLOADS: [&str; 3] = [
    "deployment/culvert-controller",
    "daemonset/culvert-agent",
    "daemonset/culvert-ztunnel",
];

/// Values of the chart for the test cluster.
pub const VALUES: &str =
    "meshConfig.clusterCIDRs={10.244.0.0/16,10.96.0.0/16,fd00:10:244::/48,fd00:10:96::/112}";

/// The chart.
pub fn chart() -> String {
    root().join("manifests/chart").display().to_string()
}

/// The images of the mesh.
pub fn images() -> Vec<PathBuf> {
    ["agent", "ztunnel", "waypoint", "controller", "cli"]
        .map(|part| root().join(format!("target/images/culvert-{part}.tar")))
        .to_vec()
}

/// Installs the chart and waits for its programs.
pub fn install(cluster: &Cluster) -> Result<()> {
    cluster.kubectl.helm(&[
        "install",
        "culvert",
        &chart(),
        "-n",
        SYSTEM,
        "--create-namespace",
        "--set",
        VALUES,
        "--wait",
        "--timeout=180s",
    ])?;
    rolled_out(cluster)
}

/// Waits until the programs are those that the objects describe.
pub fn rolled_out(cluster: &Cluster) -> Result<()> {
    for workload in WORKLOADS {
        cluster.kubectl.rolled_out(SYSTEM, workload)?;
    }
    Ok(())
}

/// Removes the chart and its namespace.
pub fn uninstall(cluster: &Cluster) -> Result<()> {
    cluster.kubectl.helm(&[
        "uninstall",
        "culvert",
        "-n",
        SYSTEM,
        "--wait",
        "--timeout=180s",
    ])?;
    cluster.kubectl.delete_namespaces(&[SYSTEM])
}

/// Whether it is there.
pub fn is_installed(cluster: &Cluster) -> Result<bool> {
    let releases = cluster.kubectl.helm(&["list", "-A", "-q"])?;
    Ok(releases.lines().any(|line| line.trim() == "culvert"))
}

/// A pod's addresses.
pub fn addresses(pod: &Value) -> Vec<IpAddr> {
    let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
    all.filter_map(|one| one["ip"].as_str()?.parse().ok())
        .collect()
}

/// Whether a pod may be in the mesh at all.
pub fn can_join(pod: &Value) -> bool {
    pod["spec"]["hostNetwork"] != true
        && !matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        )
        && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Puts the label on a namespace, waits until all of its pods are captured and every ztunnel knows it, and tells the
/// link. Yields how long the capture took.
pub fn enrol(cluster: &Cluster, link: &mut Link, namespace: &str) -> Result<Duration> {
    let begin = Instant::now();
    let label = format!("{LABEL}=ambient");
    cluster
        .kubectl
        .run(&["label", "namespace", namespace, &label, "--overwrite"])?;
    let pods = wait_captured(cluster, namespace)?;
    let took = begin.elapsed();
    known(cluster, link, namespace, &pods)?;
    Ok(took)
}

/// Waits until every ztunnel dials these pods by HBONE, and tells the link.
pub fn known(cluster: &Cluster, link: &mut Link, namespace: &str, pods: &[Value]) -> Result<()> {
    for node in NODES {
        wait::until(
            format!("ztunnel of {node} knows the pods of {namespace}"),
            wait::PATIENCE,
            || {
                let dump = ztunnel_dump(cluster, node)?;
                let workloads = dump["workloads"].as_array().context("workloads")?;
                let hbone = |pod: &&Value| {
                    workloads.iter().any(|one| {
                        one["namespace"] == namespace
                            && one["name"] == pod["metadata"]["name"]
                            && one["tunnel"] == "HBONE"
                    })
                };
                let missing: Vec<_> = pods.iter().filter(|pod| !hbone(pod)).map(name).collect();
                if !missing.is_empty() {
                    pause();
                    bail!("not by HBONE: {missing:?}");
                }
                Ok(Some(()))
            },
        )?;
    }
    let now = SystemTime::now();
    for pod in pods {
        link.enrolled(&format!("{namespace}/{}", name(pod)), &addresses(pod), now);
    }
    Ok(())
}

/// What a node's ztunnel says that it runs with.
pub fn ztunnel_dump(cluster: &Cluster, node: &str) -> Result<Value> {
    let text = admin(cluster, node, "config_dump")?;
    serde_json::from_str(&text).with_context(|| format!("config_dump of ztunnel on {node}"))
}

/// A page of a ztunnel's admin server, asked from inside its pod.
pub fn admin(cluster: &Cluster, node: &str, page: &str) -> Result<String> {
    // While one replaces the other there are two; the newer one is asked.
    let script = format!(
        r#"for p in $(ls /proc | grep -E '^[0-9]+$' | sort -rn); do
  [ "$(basename "$(readlink /proc/$p/exe)")" = culvert-ztunnel ] || continue
  exec nsenter -t $p -n curl -sSf -m 10 http://127.0.0.1:15000/{page}
done; echo no culvert-ztunnel here >&2; exit 1"#
    );
    cluster.on_node(node, &script)?.success()
}

/// Waits until every pod of a namespace that can be in the mesh is captured. Yields them.
pub fn wait_captured(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>> {
    wait::until(format!("pods of {namespace} captured"), PATIENCE, || {
        let pods = cluster.kubectl.list(&["-n", namespace, "pods"])?;
        let ours: Vec<_> = pods.into_iter().filter(can_join).collect();
        let waiting: Vec<_> = ours
            .iter()
            .filter(|pod| condition(pod, CAPTURED) != Some("True"))
            .map(|pod| format!("{}: {}", name(pod), message(pod)))
            .collect();
        if ours.is_empty() || !waiting.is_empty() {
            pause();
            bail!("{} of {} are not: {waiting:?}", waiting.len(), ours.len());
        }
        Ok(Some(ours))
    })
}

/// Takes the label from a namespace and waits until no pod of it is captured.
pub fn release(cluster: &Cluster, link: &mut Link, namespace: &str) -> Result<Duration> {
    let prefix = format!("{namespace}/");
    link.released(|pod| pod.starts_with(&prefix));
    let begin = Instant::now();
    let label = format!("{LABEL}-");
    cluster
        .kubectl
        .run(&["label", "namespace", namespace, &label])?;
    wait_released(cluster, namespace)?;
    Ok(begin.elapsed())
}

/// Waits until no pod of a namespace has the condition.
pub fn wait_released(cluster: &Cluster, namespace: &str) -> Result<()> {
    wait::until(format!("pods of {namespace} released"), PATIENCE, || {
        let pods = cluster.kubectl.list(&["-n", namespace, "pods"])?;
        let left: Vec<_> = pods
            .iter()
            .filter(|pod| condition(pod, CAPTURED).is_some())
            .map(name)
            .collect();
        if !left.is_empty() {
            pause();
            bail!("still captured: {left:?}");
        }
        Ok(Some(()))
    })
}

fn message(pod: &Value) -> String {
    let captured = conditions(pod).find(|one| one["type"] == CAPTURED);
    captured.map_or("no condition".to_owned(), |one| {
        format!("{} {}", one["reason"], one["message"])
    })
}

/// What helps to understand a failure: objects, events, logs.
pub fn details(cluster: &Cluster) -> String {
    let k = &cluster.kubectl;
    let mut text = String::new();
    let mut add = |title: &str, args: &[&str]| {
        let got = k
            .try_run(args)
            .map_or_else(|error| format!("{error:#}"), |output| output.text());
        text += &format!("==== {title}\n{got}\n");
    };
    add("pods", &["get", "pods", "-A", "-o", "wide"]);
    add(
        "events",
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
    );
    add("mesh", &["-n", SYSTEM, "describe", "pods"]);
    for part in ["controller", "agent", "ztunnel"] {
        let selector = format!("app.kubernetes.io/name=culvert-{part}");
        let args = [
            "-n",
            SYSTEM,
            "logs",
            "-l",
            &selector,
            "--tail=300",
            "--prefix",
            "--all-containers",
        ];
        add(&format!("log of {part}"), &args);
    }
    text
}

/// What stays the same when nothing restarts: uid and restarts of every pod.
pub fn lives(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let pods = cluster.kubectl.list(&["-n", namespace, "pods"])?;
    ensure!(!pods.is_empty(), "no pods in {namespace}");
    let mut lives: Vec<_> = pods
        .iter()
        .map(|pod| {
            let statuses = pod["status"]["containerStatuses"].as_array();
            let restarts: u64 = statuses
                .into_iter()
                .flatten()
                .filter_map(|one| one["restartCount"].as_u64())
                .sum();
            format!("{} {} {restarts}", name(pod), pod["metadata"]["uid"])
        })
        .collect();
    lives.sort();
    Ok(lives)
}
