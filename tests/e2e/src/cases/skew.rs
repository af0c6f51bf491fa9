//! Parts one minor version apart, as an upgrade has them: the controller new, the data plane old, then node by node new.
//!
//! Invariant: however the case ends, `helm upgrade` was asked for this version of every part again.

use super::app::APP;
use super::faults::answers;
use super::policy::authorization;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{PATIENCE, name, pause},
    mesh::{self, SYSTEM, WORKLOADS},
    node::NODES,
    run::root,
};
use culvert_lab::wait;
use serde_json::Value;
use std::{collections::BTreeSet, time::SystemTime};

const NOW: &str = env!("CARGO_PKG_VERSION");
const DATA_PLANE: [&str; 2] = ["agent", "ztunnel"];
/// Clients and servers on different nodes, so that every request goes through two ztunnels.
const WAYS: [(&str, &str); 2] = [("near", "echo2"), ("far", "echo1")];

/// The case.
pub(super) fn skew(suite: &mut Suite) -> Result<Vec<String>> {
    let old = previous_version()?;
    let images = DATA_PLANE
        .map(|part| root().join(format!("target/previous/images/culvert-{part}.tar")))
        .to_vec();
    ensure!(
        images.iter().all(|image| image.exists()),
        "the images of {old} are not made: tests/e2e/previous-images"
    );
    suite.cluster.load(&images).context("images of before")?;
    suite.app()?;
    let mut notes = match apart(suite, &old) {
        Ok(notes) => notes,
        Err(error) => {
            helm(suite, "").with_context(|| format!("after: {error:#}"))?;
            return Err(error);
        }
    };
    notes.extend(roll_on(suite, &old)?);
    Ok(notes)
}

/// What `tests/e2e/previous-images` built.
fn previous_version() -> Result<String> {
    let manifest = root().join("target/previous/src/Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("{}: run tests/e2e/previous-images", manifest.display()))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .context("no version in the manifest of before")?;
    ensure!(
        version != NOW,
        "tests/e2e/previous names a commit of {NOW} itself"
    );
    Ok(version.to_owned())
}

/// The old data plane under the new controller, everywhere and then on one node only.
fn apart(suite: &mut Suite, old: &str) -> Result<Vec<String>> {
    helm(suite, old)?;
    ensure!(
        versions(suite)? == [old, old],
        "the ztunnels are {:?}",
        versions(suite)?
    );
    works(suite, "all of the data plane old")?;
    let check = suite.culvert(&["check"])?;
    ensure!(check.ok, "culvert check: {}", check.text());
    let mut notes = refused(suite, old)?;
    one_node_new(suite)?;
    ensure!(
        versions(suite)? == [old, NOW],
        "the ztunnels are {:?}",
        versions(suite)?
    );
    works(suite, "node1 old, node2 new")?;
    notes.push(format!(
        "agents and ztunnels {old} under the controller {NOW}, on both nodes and on one: traffic, a new pod, a denial"
    ));
    Ok(notes)
}

/// From old to new by the documented step, under load: no new connection is refused, whichever ends are which.
fn roll_on(suite: &mut Suite, old: &str) -> Result<Vec<String>> {
    for (client, server) in WAYS {
        answers(suite, client, server)?;
    }
    let loads = WAYS
        .map(|(client, server)| suite.load(client, server))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    helm(suite, "")?;
    let after = versions(suite)?;
    ensure!(after == [NOW, NOW], "the ztunnels are {after:?}");
    for part in DATA_PLANE {
        let object = format!("daemonset/culvert-{part}");
        let strategy = suite
            .cluster
            .kubectl
            .field(SYSTEM, &object, ".spec.updateStrategy.type")?;
        ensure!(strategy == "RollingUpdate", "{object}: {strategy}");
    }
    loads
        .into_iter()
        .map(|load| {
            let note = load.finish(50)?.all_answered()?;
            Ok(format!("while {old} became {NOW}: {note}"))
        })
        .collect()
}

/// `helm upgrade` of this chart with the data plane at `tag`, waited for.
fn helm(suite: &Suite, tag: &str) -> Result<()> {
    let chart = mesh::chart();
    let value = format!("dataPlaneTag={tag}");
    suite.cluster.kubectl.helm(&upgrade(&chart, &value))?;
    mesh::rolled_out(&suite.cluster)
}

fn upgrade<'a>(chart: &'a str, value: &'a str) -> [&'a str; 9] {
    [
        "upgrade",
        "culvert",
        chart,
        "-n",
        SYSTEM,
        "--reuse-values",
        "--set",
        value,
        "--timeout=180s",
    ]
}

/// What the ztunnels themselves say, in the order of the nodes.
fn versions(suite: &Suite) -> Result<Vec<String>> {
    NODES
        .iter()
        .map(|node| {
            let dump = mesh::ztunnel_dump(&suite.cluster, node)?;
            Ok(dump["version"].as_str().unwrap_or_default().to_owned())
        })
        .collect()
}

/// Images of this version, but only the pods of node2 are replaced. `helm upgrade` takes all of this back.
fn one_node_new(suite: &mut Suite) -> Result<()> {
    let k = suite.cluster.kubectl.clone();
    for part in DATA_PLANE {
        let object = format!("daemonset/culvert-{part}");
        let patch = format!(
            r#"{{"spec":{{"updateStrategy":{{"type":"OnDelete","rollingUpdate":null}},"template":{{"spec":{{"containers":[{{"name":"{part}","image":"localhost/culvert/culvert-{part}:{NOW}"}}]}}}}}}}}"#
        );
        k.run(&[
            "-n",
            SYSTEM,
            "patch",
            &object,
            "--type=strategic",
            "-p",
            &patch,
        ])?;
        let pods = of_part(suite, part)?;
        let pod = pods
            .iter()
            .find(|pod| pod["spec"]["nodeName"] == "node2")
            .with_context(|| format!("no {part} on node2"))?;
        k.run(&["-n", SYSTEM, "delete", "pod", &name(pod), "--wait"])?;
        let selector = format!("app.kubernetes.io/name=culvert-{part}");
        wait::until(format!("both {part}s"), PATIENCE, || {
            pause();
            let nodes: BTreeSet<_> = of_part(suite, part)?
                .iter()
                .map(|pod| pod["spec"]["nodeName"].to_string())
                .collect();
            Ok((nodes.len() == NODES.len()).then_some(()))
        })?;
        k.wait_ready(SYSTEM, &selector)?;
    }
    suite.settled(APP)
}

fn of_part(suite: &Suite, part: &str) -> Result<Vec<Value>> {
    let selector = format!("app.kubernetes.io/name=culvert-{part}");
    let args = ["-n", SYSTEM, "pods", "-l", &selector];
    suite.cluster.kubectl.list(&args)
}

/// Traffic is HBONE both ways, a new pod joins on either node, and a denial holds and ends.
fn works(suite: &mut Suite, when: &str) -> Result<()> {
    let begin = SystemTime::now();
    let addresses = |suite: &Suite, pod: &str| suite.addresses(APP, pod);
    for (client, server) in WAYS {
        answers(suite, client, server).with_context(|| when.to_owned())?;
        let (one, other) = (addresses(suite, client)?, addresses(suite, server)?);
        suite
            .crossed(begin, &one, &other, true)
            .with_context(|| format!("{when}: {client} to {server}"))?;
    }
    for node in NODES {
        joins(suite, node).with_context(|| format!("{when}: a new pod on {node}"))?;
    }
    for (client, server) in WAYS {
        denied(suite, client, server).with_context(|| format!("{when}: a denial at {server}"))?;
    }
    Ok(())
}

/// A pod that is made now is held until it is captured, and its first connection to either node is answered.
fn joins(suite: &mut Suite, node: &str) -> Result<()> {
    let pod = "born-apart";
    let command = r#"[bash, -c, "for s in echo1 echo2; do curl -sS -m 15 http://$s/ || exit 1; done; sleep infinity"]"#;
    suite.pod(APP, pod, node, command, "")?;
    suite.runs(APP, pod)?;
    suite.settled(APP)?;
    let rules = suite.rules(APP, pod)?;
    ensure!(rules.contains("culvert"), "not captured: {rules}");
    let k = suite.cluster.kubectl.clone();
    wait::until(format!("{pod} was answered by both"), PATIENCE, || {
        pause();
        let log = k.run(&["-n", APP, "logs", pod])?;
        ensure!(
            log.contains("name: echo1\n") && log.contains("name: echo2\n"),
            "{log}"
        );
        Ok(Some(()))
    })?;
    suite.link.released(|one| one == "e2e-app/born-apart");
    k.delete_pod(APP, pod)
}

/// A policy of the new controller is obeyed by whichever ztunnel is at the server, and so is its end.
fn denied(suite: &Suite, client: &str, server: &str) -> Result<()> {
    let k = &suite.cluster.kubectl;
    let url = format!("http://{server}/");
    k.apply(&authorization(
        "apart",
        &format!(
            "{{selector: {{matchLabels: {{app: {server}}}}}, action: DENY, rules: [{{from: [{{source: {{principals: [cluster.local/ns/{APP}/sa/{client}]}}}}]}}]}}"
        ),
    ))?;
    let held = suite.admitted(APP, client, &url, false);
    k.run(&[
        "-n",
        APP,
        "delete",
        "authorizationpolicies.culvert.dev",
        "apart",
    ])?;
    held?;
    suite.admitted(APP, client, &url, true)
}

/// A data plane ahead of its controller is refused: when it is asked for, and when it runs. Nothing is changed then.
fn refused(suite: &Suite, old: &str) -> Result<Vec<String>> {
    let k = &suite.cluster.kubectl;
    let generations = || -> Result<Vec<String>> {
        WORKLOADS
            .iter()
            .map(|workload| k.field(SYSTEM, workload, ".metadata.generation"))
            .collect()
    };
    let before = generations()?;
    let chart = mesh::chart();
    let ahead = "99.0.0";
    let asked = k.try_helm(&upgrade(&chart, &format!("dataPlaneTag={ahead}")))?;
    ensure!(
        !asked.ok && asked.text().contains("never ahead"),
        "helm, data plane {ahead}: {}",
        asked.text()
    );
    let pods = of_part(suite, "agent")?;
    let pod = name(pods.first().context("no agent")?);
    let says = |version: &str| {
        let label = format!("app.kubernetes.io/version={version}");
        k.run(&["-n", SYSTEM, "label", "pod", &pod, &label, "--overwrite"])
    };
    says(ahead)?;
    let outcome = (|| -> Result<String> {
        let ours = suite.culvert(&["upgrade", "--prepare"])?;
        ensure!(
            !ours.ok && ours.text().contains("ahead of"),
            "culvert upgrade: {}",
            ours.text()
        );
        let hook = k.try_helm(&upgrade(&chart, "dataPlaneTag="))?;
        ensure!(!hook.ok, "helm upgraded: {}", hook.text());
        let job = k.run(&["-n", SYSTEM, "logs", "job/culvert-upgrade"])?;
        ensure!(job.contains("ahead of"), "the hook's Job: {job}");
        Ok(ours.text().trim().to_owned())
    })();
    says(old)?;
    let said = outcome?;
    let after = generations()?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(vec![said])
}
