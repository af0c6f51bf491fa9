//! Enrolment: labels on and off, of namespaces and pods, with traffic; and the first connection of a new pod.

use super::app::{APP, OUTSIDER};
use crate::suite::Suite;
use anyhow::{Result, ensure};
use culvert_e2e::{
    kubectl::{condition, name, pause},
    mesh::{self, CAPTURED, LABEL},
    traffic::Traffic,
};
use culvert_lab::wait;
use std::time::{Instant, SystemTime};

const JOINING: &str = "e2e-joining";

/// Four pods that were there before the label are captured by it and released without it, and none is restarted.
pub(super) fn label_and_unlabel(suite: &mut Suite) -> Result<Vec<String>> {
    let k = suite.cluster.kubectl.clone();
    k.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {JOINING}}}\n"
    ))?;
    let serve = r#"[culvert-echo, --name, server, --http, "8080", --echo, "7001"]"#;
    for (pod, node, command) in [
        ("client1", "node1", "[sleep, infinity]"),
        ("client2", "node2", "[sleep, infinity]"),
        ("server1", "node1", serve),
        ("server2", "node2", serve),
    ] {
        suite.pod(JOINING, pod, node, command, "")?;
    }
    k.wait_ready(JOINING, "app")?;
    let before = mesh::lives(&suite.cluster, JOINING)?;
    let server = suite.addresses(JOINING, "server2")?;
    let client = suite.addresses(JOINING, "client1")?;
    let url = format!("http://{}:8080/", server[0]);
    let since = SystemTime::now();
    suite.get_from(JOINING, "client1", &url, "server")?;
    suite.crossed(since, &client, &server, false)?;
    let held = Traffic::hold(&k, JOINING, "client1", &server[0].to_string(), "7001")?;

    let joined = mesh::enrol(&suite.cluster, &mut suite.link, JOINING)?;
    let since = SystemTime::now();
    suite.get_from(JOINING, "client1", &url, "server")?;
    let hbone = suite.link.find("HBONE after the label", since, 1, |one| {
        one.is_between(client[0], server[0]) && one.begun >= since
    });
    let hbone = hbone.or_else(|_| {
        suite.link.find("a tunnel", since, 1, |one| {
            one.is_between(client[0], server[0]) && one.is_hbone()
        })
    })?;
    ensure!(
        hbone.iter().all(|(is_hbone, _)| *is_hbone),
        "after the label: {hbone:?}"
    );
    ensure!(
        mesh::lives(&suite.cluster, JOINING)? == before,
        "the label restarted something"
    );

    let left = mesh::release(&suite.cluster, &mut suite.link, JOINING)?;
    wait::until("clear text again", wait::PATIENCE, || {
        let since = SystemTime::now();
        suite.get_from(JOINING, "client1", &url, "server")?;
        suite
            .link
            .find("clear text", since, 1, |one| {
                one.is_between(client[0], server[0]) && one.server.port() == 8080
            })
            .map(Some)
    })?;
    ensure!(
        mesh::lives(&suite.cluster, JOINING)? == before,
        "taking the label away restarted something"
    );
    let held = held.unbroken()?;
    k.delete_namespaces(&[JOINING])?;
    Ok(vec![format!(
        "{} pods on two nodes captured {:.1} s after the label, released {:.1} s without it; a connection from before lived through both ({held})",
        before.len(),
        joined.as_secs_f64(),
        left.as_secs_f64()
    )])
}

/// The label goes on and off as fast as the API takes it; what it says in the end is so.
pub(super) fn tight_loop(suite: &mut Suite) -> Result<Vec<String>> {
    let k = suite.cluster.kubectl.clone();
    k.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {JOINING}}}\n"
    ))?;
    suite.pod(JOINING, "client1", "node1", "[sleep, infinity]", "")?;
    suite.pod(
        JOINING,
        "server2",
        "node2",
        r#"[culvert-echo, --name, server, --http, "8080"]"#,
        "",
    )?;
    k.wait_ready(JOINING, "app")?;
    let before = mesh::lives(&suite.cluster, JOINING)?;
    let (server, client) = (
        suite.addresses(JOINING, "server2")?,
        suite.addresses(JOINING, "client1")?,
    );
    let url = format!("http://{}:8080/", server[0]);
    let begin = Instant::now();
    for _ in 0..20 {
        k.run(&[
            "label",
            "namespace",
            JOINING,
            &format!("{LABEL}=ambient"),
            "--overwrite",
        ])?;
        k.run(&["label", "namespace", JOINING, &format!("{LABEL}-")])?;
    }
    let loops = begin.elapsed();
    mesh::wait_released(&suite.cluster, JOINING)?;
    wait::until("no rule of ours in the pods", wait::PATIENCE, || {
        let rules = suite.rules(JOINING, "client1")? + &suite.rules(JOINING, "server2")?;
        ensure!(!rules.to_lowercase().contains("culvert"), "{rules}");
        Ok(Some(()))
    })?;
    suite.get_from(JOINING, "client1", &url, "server")?;
    mesh::enrol(&suite.cluster, &mut suite.link, JOINING)?;
    let since = SystemTime::now();
    suite.get_from(JOINING, "client1", &url, "server")?;
    suite.crossed(since, &client, &server, true)?;
    ensure!(
        mesh::lives(&suite.cluster, JOINING)? == before,
        "something was restarted"
    );
    suite.link.released(|pod| pod.starts_with("e2e-joining/"));
    k.delete_namespaces(&[JOINING])?;
    Ok(vec![format!(
        "40 changes of the label in {:.1} s",
        loops.as_secs_f64()
    )])
}

/// A pod's own label wins over its namespace's, both ways.
pub(super) fn pod_labels(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let serve = r#"[culvert-echo, --name, server, --http, "8080"]"#;
    suite.pod(APP, "opted-out", "node2", serve, "")?;
    let k = suite.cluster.kubectl.clone();
    k.delete_pod(APP, "opted-out")?;
    k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: opted-out, namespace: {APP}, labels: {{app: opted-out, {LABEL}: none}}}}\nspec:\n  \
         nodeSelector: {{kubernetes.io/hostname: node2}}\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: main, {}, command: {serve}}}]\n",
        super::app::IMAGE
    ))?;
    k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: opted-in, namespace: {OUTSIDER}, labels: {{app: opted-in, {LABEL}: ambient}}}}\nspec:\n  \
         nodeSelector: {{kubernetes.io/hostname: node2}}\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: main, {}, command: {serve}}}]\n",
        super::app::IMAGE
    ))?;
    suite.runs(APP, "opted-out")?;
    suite.runs(OUTSIDER, "opted-in")?;
    wait::until(
        "the pod opted-in is captured",
        culvert_e2e::kubectl::PATIENCE,
        || {
            pause();
            let pod = k.json(&["-n", OUTSIDER, "pod", "opted-in"])?;
            Ok((condition(&pod, CAPTURED) == Some("True")).then_some(()))
        },
    )?;
    let opted_in = k.json(&["-n", OUTSIDER, "pod", "opted-in"])?;
    mesh::known(&suite.cluster, &mut suite.link, OUTSIDER, &[opted_in])?;
    let near = suite.addresses(APP, "near")?;
    let (out, inside) = (
        suite.addresses(APP, "opted-out")?,
        suite.addresses(OUTSIDER, "opted-in")?,
    );
    let since = SystemTime::now();
    suite.get_from(APP, "near", &format!("http://{}:8080/", out[0]), "server")?;
    suite.get_from(
        APP,
        "near",
        &format!("http://{}:8080/", inside[0]),
        "server",
    )?;
    suite.crossed(since, &near, &out, false)?;
    suite.crossed(since, &near, &inside, true)?;
    let pod = k.json(&["-n", APP, "pod", "opted-out"])?;
    ensure!(
        condition(&pod, CAPTURED).is_none(),
        "{} has the condition",
        name(&pod)
    );
    suite.link.released(|pod| pod == "e2e-outsider/opted-in");
    k.run(&["-n", APP, "delete", "pod", "opted-out", "--wait"])?;
    k.run(&["-n", OUTSIDER, "delete", "pod", "opted-in", "--wait"])?;
    Ok(Vec::new())
}

/// A pod that dials the moment it starts does so in the mesh: it was held until it was captured.
pub(super) fn first_connection(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let echo = suite.addresses(APP, "echo2")?;
    let mut notes = Vec::new();
    for attempt in 1..=3 {
        let pod = format!("eager{attempt}");
        suite.pod(
            APP,
            &pod,
            "node1",
            r#"[bash, -c, "curl -sS -m 10 http://echo2/ && sleep infinity"]"#,
            "",
        )?;
        suite.runs(APP, &pod)?;
        let k = &suite.cluster.kubectl;
        let log = wait::until(format!("{pod} was answered"), wait::PATIENCE, || {
            let log = k.run(&["-n", APP, "logs", &pod])?;
            Ok((!log.is_empty()).then_some(log))
        })?;
        ensure!(log.contains("name: echo2"), "{log}");
        let eager = suite.addresses(APP, &pod)?;
        let found = suite
            .link
            .find("its connection", SystemTime::UNIX_EPOCH, 1, |one| {
                one.begun > SystemTime::now() - std::time::Duration::from_secs(60)
                    && eager
                        .iter()
                        .any(|one_of| echo.iter().any(|echo| one.is_between(*one_of, *echo)))
            })?;
        ensure!(found.iter().all(|(hbone, _)| *hbone), "{pod}: {found:?}");
        suite.cluster.kubectl.delete_pod(APP, &pod)?;
        notes.push(format!("{pod}: {} connection", found.len()));
    }
    Ok(vec![notes.join(", ") + ": all HBONE"])
}

impl Suite {
    /// The rules in a pod's network namespace.
    pub(super) fn rules(&self, namespace: &str, pod: &str) -> Result<String> {
        let k = &self.cluster.kubectl;
        let node = k.field(namespace, &format!("pod/{pod}"), ".spec.nodeName")?;
        let uid = k.field(namespace, &format!("pod/{pod}"), ".metadata.uid")?;
        let script = format!(
            "for p in /proc/[0-9]*; do if grep -q {uid} $p/cgroup 2>/dev/null; then n=${{p#/proc/}}; \
             nsenter -t $n -n iptables-save; nsenter -t $n -n ip6tables-save; nsenter -t $n -n nft list ruleset 2>/dev/null; exit 0; fi; done; \
             echo no process of {uid} >&2; exit 1"
        );
        self.cluster.on_node(&node, &script)?.success()
    }
}
