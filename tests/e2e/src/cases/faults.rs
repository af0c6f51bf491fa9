//! Faults of the mesh's own parts while traffic flows.

use super::app::APP;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{PATIENCE, condition, pause},
    mesh::{self, CAPTURED, SYSTEM},
    node::NODES,
    traffic::Traffic,
};
use culvert_lab::wait;
use std::time::{Duration, Instant, SystemTime};

/// Ends a program on a node at once, as a crash would.
fn kill(suite: &Suite, program: &str, node: &str) -> Result<()> {
    let script = format!(
        "n=0; for p in /proc/[0-9]*; do if [ \"$(basename \"$(readlink $p/exe)\")\" = {program} ]; then kill -9 ${{p#/proc/}}; n=$((n+1)); fi; done; [ $n -gt 0 ]"
    );
    suite
        .cluster
        .on_node(node, &script)?
        .success()
        .with_context(|| format!("killing {program} on {node}"))?;
    Ok(())
}

/// Waits until a request from one pod to another succeeds.
pub(super) fn answers(suite: &Suite, pod: &str, host: &str) -> Result<Duration> {
    let begin = Instant::now();
    wait::until(
        format!("{host} answers {pod}"),
        Duration::from_secs(60),
        || {
            suite
                .get_from(APP, pod, &format!("http://{host}/"), host)
                .map(Some)
        },
    )?;
    Ok(begin.elapsed())
}

/// The agents are killed; nobody notices, and rules are repaired by their successors.
pub(super) fn agent_killed(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let loads = [suite.load("near", "echo2")?, suite.load("far", "echo1")?];
    for node in NODES {
        kill(suite, "culvert-agent", node)?;
    }
    suite
        .cluster
        .kubectl
        .rolled_out(SYSTEM, "daemonset/culvert-agent")?;
    suite.pod(
        APP,
        "after-agent",
        "node2",
        r#"[bash, -c, "curl -sS -m 10 http://echo1/"]"#,
        "",
    )?;
    suite.phase(APP, "after-agent", "Succeeded")?;
    suite
        .cluster
        .kubectl
        .run(&["-n", APP, "delete", "pod", "after-agent"])?;
    loads
        .into_iter()
        .map(|load| load.finish(20)?.all_answered())
        .collect()
}

/// ztunnel is killed: captured pods fail closed, and are served again by its successor.
pub(super) fn ztunnel_killed(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let (near, echo) = (
        suite.addresses(APP, "near")?,
        suite.addresses(APP, "echo2")?,
    );
    let load = suite.load("near", "echo2")?;
    let since = SystemTime::now();
    kill(suite, "culvert-ztunnel", "node2")?;
    let back = answers(suite, "near", "echo2")?;
    suite
        .cluster
        .kubectl
        .rolled_out(SYSTEM, "daemonset/culvert-ztunnel")?;
    let load = load.finish(20)?;
    suite.crossed(since, &near, &echo, true)?;
    Ok(vec![format!(
        "answers again {:.1} s after the kill; {} of {} connections failed meanwhile, none was in the clear",
        back.as_secs_f64(),
        load.failures.len(),
        load.answered + load.failures.len() as u64
    )])
}

/// Everything is replaced by a rolling update; not one new connection is refused, and one that was open lives.
pub(super) fn rolling_update(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let loads = [suite.load("near", "echo2")?, suite.load("far", "echo1")?];
    let begin = Instant::now();
    for workload in mesh::WORKLOADS {
        k.run(&["-n", SYSTEM, "rollout", "restart", workload])?;
        k.rolled_out(SYSTEM, workload)?;
    }
    let took = begin.elapsed();
    let mut notes = loads
        .into_iter()
        .map(|load| load.finish(50)?.all_answered())
        .collect::<Result<Vec<_>>>()?;
    notes.push(format!("all three replaced in {:.0} s", took.as_secs_f64()));
    Ok(notes)
}

/// A node comes back with all of its pods waiting at once.
pub(super) fn node_reboot(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    gather_controllers(suite)?;
    suite.link.released(|_| true);
    let begin = Instant::now();
    suite.cluster.reboot("node2")?;
    wait::until("node2 is ready", Duration::from_secs(120), || {
        pause();
        let node = k.json(&["node", "node2"])?;
        Ok((condition(&node, "Ready") == Some("True")).then_some(()))
    })?;
    // Pods keep their names; containers, addresses and namespaces are new.
    wait::until(
        "the pods of node2 have restarted",
        Duration::from_secs(150),
        || {
            pause();
            let text = k.sh(APP, "far", "echo alive")?;
            ensure!(text.ok, "{}", text.text());
            Ok(Some(()))
        },
    )?;
    mesh::rolled_out(&suite.cluster)?;
    k.wait_ready(APP, "app")?;
    suite.settled(APP)?;
    let (near, echo) = (
        suite.addresses(APP, "near")?,
        suite.addresses(APP, "echo2")?,
    );
    let since = SystemTime::now();
    answers(suite, "near", "echo2")?;
    answers(suite, "far", "echo1")?;
    suite.crossed(since, &near, &echo, true)?;
    Ok(vec![format!(
        "all as before {:.0} s after the reboot began",
        begin.elapsed().as_secs_f64()
    )])
}

/// Both controllers run on node2 from now on, so that its reboot takes them along: what the other node's ztunnel asks of
/// them afterwards, they have to read first.
fn gather_controllers(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    k.run(&["cordon", "node1"])?;
    let moved = k
        .run(&[
            "-n",
            SYSTEM,
            "delete",
            "pods",
            "-l",
            "app.kubernetes.io/name=culvert-controller",
            "--field-selector=spec.nodeName=node1",
        ])
        .and_then(|_| k.rolled_out(SYSTEM, "deployment/culvert-controller"));
    k.run(&["uncordon", "node1"])?;
    moved
}

/// Without a controller new pods start, captured, and what is known goes on.
pub(super) fn controller_down(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let loads = [suite.load("near", "echo2")?, suite.load("far", "echo1")?];
    k.run(&[
        "-n",
        SYSTEM,
        "scale",
        "deployment/culvert-controller",
        "--replicas=0",
    ])?;
    let outcome = (|| -> Result<()> {
        wait::until("no controller is left", PATIENCE, || {
            pause();
            let pods = k.list(&[
                "-n",
                SYSTEM,
                "pods",
                "-l",
                "app.kubernetes.io/name=culvert-controller",
            ])?;
            Ok(pods.is_empty().then_some(()))
        })?;
        suite.pod(APP, "born-alone", "node1", "[sleep, infinity]", "")?;
        suite.runs(APP, "born-alone")?;
        let rules = suite.rules(APP, "born-alone")?;
        ensure!(
            rules.contains("culvert"),
            "the new pod is not captured: {rules}"
        );
        Ok(())
    })();
    k.run(&[
        "-n",
        SYSTEM,
        "scale",
        "deployment/culvert-controller",
        "--replicas=2",
    ])?;
    outcome?;
    k.rolled_out(SYSTEM, "deployment/culvert-controller")?;
    let notes = loads
        .into_iter()
        .map(|load| load.finish(50)?.all_answered())
        .collect::<Result<Vec<_>>>()?;
    wait::until(
        "the pod that was born without a controller is told captured",
        PATIENCE,
        || {
            pause();
            let pod = k.json(&["-n", APP, "pod", "born-alone"])?;
            Ok((condition(&pod, CAPTURED) == Some("True")).then_some(()))
        },
    )?;
    answers(suite, "born-alone", "echo2")?;
    suite.link.released(|pod| pod == "e2e-app/born-alone");
    k.run(&["-n", APP, "delete", "pod", "born-alone"])?;
    Ok(notes)
}

/// The API server stops answering for a while; traffic does not.
pub(super) fn api_server_stopped(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let loads = [suite.load("near", "echo2")?, suite.load("far", "echo1")?];
    let signal = |signal: &str| {
        let script = format!(
            "for p in /proc/[0-9]*; do [ \"$(basename \"$(readlink $p/exe)\")\" = kube-apiserver ] && kill -{signal} ${{p#/proc/}}; done; true"
        );
        suite.cluster.on_node("control", &script)?.success()
    };
    signal("STOP")?;
    let unreachable = suite
        .cluster
        .kubectl
        .try_run(&["get", "nodes", "--request-timeout=3s"]);
    std::thread::sleep(Duration::from_secs(15));
    signal("CONT")?;
    ensure!(!unreachable?.ok, "the API server still answered");
    suite.cluster.kubectl.run(&["get", "nodes"])?;
    loads
        .into_iter()
        .map(|load| load.finish(100)?.all_answered())
        .collect()
}

/// Somebody writes the CNI configuration anew; our plugin is put back, and pods are held again.
pub(super) fn cni_config_rewritten(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let configuration = "/etc/cni/net.d/10-cluster.conflist";
    let read = |suite: &Suite| {
        suite
            .cluster
            .on_node("node1", &format!("cat {configuration}"))?
            .success()
    };
    let with = read(suite)?;
    ensure!(
        with.contains("culvert-cni"),
        "the plugin is not in the configuration: {with}"
    );
    // What is moved in is looked at before: the repair may come before anything can be read afterwards.
    let strip = format!(
        "jq '.plugins |= map(select(.type != \"culvert-cni\"))' {configuration} >/etc/cni/net.d/.new && cat /etc/cni/net.d/.new && mv /etc/cni/net.d/.new {configuration}"
    );
    let begin = Instant::now();
    let without = suite.cluster.on_node("node1", &strip)?.success()?;
    ensure!(!without.contains("culvert-cni"), "it was not rewritten");
    wait::until(
        "the plugin is back in the configuration",
        Duration::from_secs(30),
        || Ok(read(suite)?.contains("culvert-cni").then_some(())),
    )?;
    let took = begin.elapsed();
    first_words(suite, "after-rewrite", "node1")?;
    Ok(vec![format!("repaired in {:.1} s", took.as_secs_f64())])
}

/// A new pod's first connection to echo2 is answered, and is HBONE if it crosses the link.
fn first_words(suite: &mut Suite, pod: &str, node: &str) -> Result<()> {
    suite.pod(
        APP,
        pod,
        node,
        r#"[bash, -c, "curl -sS -m 15 http://echo2/ && sleep infinity"]"#,
        "",
    )?;
    suite.runs(APP, pod)?;
    wait::until(format!("{pod} was answered"), wait::PATIENCE, || {
        let log = suite.cluster.kubectl.run(&["-n", APP, "logs", pod])?;
        ensure!(log.contains("name: echo2"), "{log}");
        Ok(Some(()))
    })?;
    let (mine, echo) = (suite.addresses(APP, pod)?, suite.addresses(APP, "echo2")?);
    if node == "node1" {
        let found = suite.link.find(
            "its connection",
            SystemTime::now() - Duration::from_secs(60),
            1,
            |one| {
                mine.iter()
                    .any(|mine| echo.iter().any(|echo| one.is_between(*mine, *echo)))
            },
        )?;
        ensure!(found.iter().all(|(hbone, _)| *hbone), "{found:?}");
    }
    suite.cluster.kubectl.delete_pod(APP, pod)
}

/// Takes a DaemonSet's pods away by a node selector that no node has.
fn absent(suite: &Suite, part: &str, gone: bool) -> Result<()> {
    let k = &suite.cluster.kubectl;
    let value = if gone { r#""yes""# } else { "null" };
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"e2e-absent":{value}}}}}}}}}}}"#
    );
    let object = format!("daemonset/culvert-{part}");
    k.run(&["-n", SYSTEM, "patch", &object, "--type=merge", "-p", &patch])?;
    if !gone {
        return k.rolled_out(SYSTEM, &object);
    }
    let selector = format!("app.kubernetes.io/name=culvert-{part}");
    wait::until(format!("no {part} is left"), PATIENCE, || {
        pause();
        Ok(k.list(&["-n", SYSTEM, "pods", "-l", &selector])?
            .is_empty()
            .then_some(()))
    })
}

/// A pod that is made while a part is away waits, says why, and starts when the part is back.
fn held_without(suite: &mut Suite, part: &str) -> Result<Vec<String>> {
    suite.app()?;
    let pod = format!("without-{part}");
    absent(suite, part, true)?;
    let outcome = (|| {
        suite.pod(
            APP,
            &pod,
            "node1",
            r#"[bash, -c, "curl -sS -m 15 http://echo2/ && sleep infinity"]"#,
            "",
        )?;
        let event = suite.event(APP, &pod, "culvert")?;
        let phase = suite
            .cluster
            .kubectl
            .field(APP, &format!("pod/{pod}"), ".status.phase")?;
        ensure!(
            phase == "Pending",
            "it is {phase} although nobody captured it"
        );
        // Who is outside the mesh is not held.
        suite.pod(
            super::app::OUTSIDER,
            "free",
            "node1",
            "[sleep, infinity]",
            "",
        )?;
        suite.runs(super::app::OUTSIDER, "free")?;
        suite
            .cluster
            .kubectl
            .run(&["-n", super::app::OUTSIDER, "delete", "pod", "free"])?;
        Ok(event)
    })();
    absent(suite, part, false)?;
    let event: String = outcome?;
    suite.runs(APP, &pod)?;
    wait::until(
        format!("{pod} was answered"),
        Duration::from_secs(30),
        || {
            let log = suite.cluster.kubectl.run(&["-n", APP, "logs", &pod])?;
            ensure!(log.contains("name: echo2"), "{log}");
            Ok(Some(()))
        },
    )?;
    suite.cluster.kubectl.delete_pod(APP, &pod)?;
    answers(suite, "near", "echo2")?;
    Ok(vec![event])
}

pub(super) fn pod_without_ztunnel(suite: &mut Suite) -> Result<Vec<String>> {
    held_without(suite, "ztunnel")
}

pub(super) fn pod_without_agent(suite: &mut Suite) -> Result<Vec<String>> {
    held_without(suite, "agent")
}

/// A pod gets the address of one that has just gone, and has its own name and identity in everybody's eyes.
pub(super) fn address_reuse(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let serve = |name: &str| format!(r#"[culvert-echo, --name, {name}, --http, "8080"]"#);
    suite.pod(APP, "first", "node2", &serve("first"), "")?;
    suite.runs(APP, "first")?;
    suite.settled(APP)?;
    let address = suite.addresses(APP, "first")?;
    let url = format!("http://{}:8080/", address[0]);
    suite.get_from(APP, "near", &url, "first")?;
    suite.link.released(|pod| pod == "e2e-app/first");
    k.delete_pod(APP, "first")?;
    let gone = Instant::now();
    // The bridge plugin announces no new owner of an address, so that the node would send to the first pod's device until
    // its neighbour entry is doubted: with or without a mesh. host-local gives the address after the last one it gave: the last is made the one before ours.
    let octets = address[0].to_string();
    let (network, host) = octets.rsplit_once('.').context("an IPv4 address")?;
    let before = format!("{network}.{}", host.parse::<u8>()?.saturating_sub(1));
    let script = format!(
        "while [ -e /run/cni-ipam/cluster/{octets} ]; do sleep 0.02; done; ip neigh del {octets} dev cni0 2>/dev/null; for f in /run/cni-ipam/cluster/last_reserved_ip.0; do printf %s {before} >$f; done"
    );
    suite.cluster.on_node("node2", &script)?.success()?;
    let freed = Instant::now();
    k.apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: second, namespace: {APP}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: second, namespace: {APP}, labels: {{app: second}}}}\nspec:\n  \
         serviceAccountName: second\n  nodeSelector: {{kubernetes.io/hostname: node2}}\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: main, {}, command: {}}}]\n",
        super::app::IMAGE,
        serve("second")
    ))?;
    let reused = wait::until("the second pod's address", PATIENCE, || {
        let text = k.field(APP, "pod/second", ".status.podIP")?;
        Ok((!text.is_empty()).then_some(text))
    })?;
    let took = freed.elapsed();
    ensure!(reused == octets, "it got {reused} and not {octets}");
    suite.runs(APP, "second")?;
    suite.settled(APP)?;
    suite.get_from(APP, "near", &url, "second")?;
    only_the_second_is_admitted(suite)?;
    suite.link.released(|pod| pod == "e2e-app/second");
    k.delete_pod(APP, "second")?;
    answers(suite, "far", "echo1")?;
    Ok(vec![format!(
        "{octets} was another pod's {:.1} s after the first was deleted, and free for {:.1} s at most",
        gone.elapsed().as_secs_f64(),
        took.as_secs_f64()
    )])
}

/// Its own identity: a policy that names it admits it, and nobody else.
fn only_the_second_is_admitted(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    k.apply(&format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: only-second, namespace: {APP}}}\nspec: {{selector: {{matchLabels: {{app: echo1}}}}, \
         action: ALLOW, rules: [{{from: [{{source: {{principals: [cluster.local/ns/e2e-app/sa/second]}}}}]}}]}}\n"
    ))?;
    let outcome = wait::until(
        "only the second is admitted at echo1",
        wait::PATIENCE,
        || {
            ensure!(
                !suite.get(APP, "far", "http://echo1/")?.ok,
                "far is admitted"
            );
            suite
                .get_from(APP, "second", "http://echo1/", "echo1")
                .map(Some)
        },
    );
    k.run(&[
        "-n",
        APP,
        "delete",
        "authorizationpolicies.culvert.dev",
        "only-second",
    ])?;
    outcome.map(drop)
}

/// A namespace goes with everything in it while it is dialled; the rest does not notice.
pub(super) fn namespace_deleted(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let doomed = "e2e-doomed";
    k.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {doomed}, labels: {{{}: ambient}}}}\n",
        mesh::LABEL
    ))?;
    suite.pod(
        doomed,
        "server",
        "node2",
        r#"[culvert-echo, --name, server, --http, "80"]"#,
        "",
    )?;
    suite.runs(doomed, "server")?;
    suite.settled(doomed)?;
    let address = suite.addresses(doomed, "server")?[0].to_string();
    let load = Traffic::load(&k, APP, "near", "0.05", &address, "80")?;
    let other = suite.load("far", "echo1")?;
    let before = mesh::lives(&suite.cluster, SYSTEM)?;
    suite.link.released(|pod| pod.starts_with("e2e-doomed/"));
    k.delete_namespaces(&[doomed])?;
    let load = load.finish(0)?;
    ensure!(
        load.answered > 0 && !load.failures.is_empty(),
        "{} answers, {} failures",
        load.answered,
        load.failures.len()
    );
    let note = other.finish(20)?.all_answered()?;
    ensure!(
        mesh::lives(&suite.cluster, SYSTEM)? == before,
        "a part of the mesh was restarted"
    );
    Ok(vec![format!("of the rest {note}")])
}
