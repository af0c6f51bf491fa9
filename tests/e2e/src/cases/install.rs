//! Installing again, checking, and the command line's own way of installing and removing.

use super::NodeState;
use super::app::APP;
use crate::suite::Suite;
use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{
    kubectl::{name, pause},
    mesh::{self, SYSTEM, VALUES, WORKLOADS},
    node,
    run::{self, Output, root},
};
use culvert_lab::wait;
use std::{
    process::Command,
    time::{Duration, SystemTime},
};

/// `culvert install` for the test cluster, as [`VALUES`] for the chart.
const INSTALL: [&str; 9] = [
    "install",
    "--cluster-cidr",
    "10.244.0.0/16",
    "--cluster-cidr",
    "10.96.0.0/16",
    "--cluster-cidr",
    "fd00:10:244::/48",
    "--cluster-cidr",
    "fd00:10:96::/112",
];

impl Suite {
    /// What a second installation must not change.
    fn installed(&self) -> Result<Vec<String>> {
        let k = &self.cluster.kubectl;
        let mut all = Vec::new();
        for workload in WORKLOADS {
            all.push(format!(
                "{workload} generation {}",
                k.field(SYSTEM, workload, ".metadata.generation")?
            ));
        }
        for secret in ["secret/culvert-ca", "configmap/culvert-ca-root"] {
            all.push(format!(
                "{secret} {}",
                k.field(SYSTEM, secret, ".metadata.resourceVersion")?
            ));
        }
        all.extend(mesh::lives(&self.cluster, SYSTEM)?);
        Ok(all)
    }
}

/// The chart a second time with the same values: nothing is changed, nothing restarted, nobody refused.
pub(super) fn twice(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let before = suite.installed()?;
    let load = suite.load("near", "echo2")?;
    suite.cluster.kubectl.helm(&[
        "upgrade",
        "--install",
        "culvert",
        &mesh::chart(),
        "-n",
        SYSTEM,
        "--set",
        VALUES,
        "--wait",
        "--timeout=180s",
    ])?;
    let after = suite.installed()?;
    let note = load.finish(20)?.all_answered()?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(vec![note])
}

/// `culvert check` is content with this cluster, and tells of a NetworkPolicy that would cut the mesh off.
pub(super) fn check(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let good = suite.culvert(&["check"])?;
    ensure!(good.ok, "exit code {}: {}", good.code, good.text());
    k.apply(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: only-http, namespace: {APP}}}\nspec: {{podSelector: {{}}, \
         policyTypes: [Ingress], ingress: [{{ports: [{{port: 8080, protocol: TCP}}]}}]}}\n"
    ))?;
    let bad = suite.culvert(&["check"])?;
    k.run(&["-n", APP, "delete", "networkpolicy", "only-http"])?;
    let text = bad.text();
    ensure!(
        text.contains("15008") && text.contains("only-http"),
        "{text}"
    );
    Ok(text
        .lines()
        .filter(|line| line.contains("only-http"))
        .map(|line| line.trim().to_owned())
        .collect())
}

/// The command line installs what the chart does, twice without a change, and removes all of it.
pub(crate) fn by_command(suite: &mut Suite, before: &[NodeState]) -> Result<Vec<String>> {
    suite
        .culvert(&INSTALL)?
        .success()
        .context("culvert install")?;
    mesh::rolled_out(&suite.cluster)?;
    let first = suite.installed()?;
    suite
        .culvert(&INSTALL)?
        .success()
        .context("culvert install again")?;
    ensure!(
        suite.installed()? == first,
        "the second installation changed something"
    );
    suite
        .culvert(&["uninstall", "--purge"])?
        .success()
        .context("culvert uninstall")?;
    left(suite, before)?;
    Ok(Vec::new())
}

/// The plain manifest: applied, a namespace enrolled, nodes released, deleted.
pub(crate) fn by_kubectl(suite: &mut Suite, before: &[NodeState]) -> Result<Vec<String>> {
    let k = suite.cluster.kubectl.clone();
    let manifest = root().join("manifests/culvert.yaml").display().to_string();
    k.run(&["apply", "--server-side", "-f", &manifest])?;
    mesh::rolled_out(&suite.cluster)?;
    suite.app()?;
    let since = SystemTime::now();
    suite.get_from(APP, "near", "http://echo2/", "echo2")?;
    let ends = ["near", "echo2"].map(|pod| suite.addresses(APP, pod));
    let [near, echo] = ends;
    let hbone = suite.crossed(since, &near?, &echo?, true)?;
    super::clean(suite)?;
    let released = suite.culvert(&["uninstall", "--prepare"])?.success()?;
    k.run(&["delete", "--ignore-not-found", "-f", &manifest])?;
    left(suite, before)?;
    Ok(vec![
        format!("{hbone} connections by HBONE"),
        released.trim().to_owned(),
    ])
}

/// The README's quick start, word for word: what follows "Then, on any cluster".
pub(crate) fn by_readme(suite: &mut Suite, before: &[NodeState]) -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let after = readme.split_once("Then, on any cluster").map(|it| it.1);
    let block = after.and_then(|it| it.split("```").nth(1));
    let script = block
        .and_then(|it| it.strip_prefix("sh\n"))
        .context("the README has no such quick start")?;
    let path = format!(
        "{0}/target/cluster/bin:{0}/target/release:{1}",
        root().display(),
        std::env::var("PATH")?
    );
    let mut bash = Command::new("bash");
    bash.args(["-euxc", script])
        .current_dir(root())
        .env("KUBECONFIG", &suite.cluster.kubectl.kubeconfig)
        .env("PATH", path);
    let output = run::run(&mut bash, "", Duration::from_secs(400))?;
    let outcome = judge(&output);
    suite.cluster.kubectl.delete_namespaces(&["demo", SYSTEM])?;
    outcome.with_context(|| output.text())?;
    left(suite, before)?;
    Ok(Vec::new())
}

/// Both requests were answered, and the mesh was seen at work.
fn judge(output: &Output) -> Result<()> {
    ensure!(output.ok, "exit code {}", output.code);
    let answers = output.stdout.matches("name: web\n").count();
    ensure!(answers == 2, "{answers} answers of web");
    ensure!(
        output.stdout.contains("HBONE"),
        "no workload is reached by HBONE"
    );
    Ok(())
}

/// Nothing of the mesh is left: not in the cluster, not on the nodes.
pub(crate) fn left(suite: &Suite, before: &[NodeState]) -> Result<()> {
    let k = &suite.cluster.kubectl;
    wait::until(
        "nothing of Culvert in the cluster",
        culvert_e2e::kubectl::PATIENCE,
        || {
            pause();
            let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,gatewayclasses,priorityclasses,namespaces";
            let objects = k.list(&[kinds])?;
            let left: Vec<_> = objects
                .iter()
                .filter(|one| name(one).contains("culvert"))
                .map(|one| format!("{} {}", one["kind"], name(one)))
                .collect();
            if !left.is_empty() {
                bail!("{left:?}");
            }
            Ok(Some(()))
        },
    )?;
    for (name, state) in before {
        node::same(name, state, &node::state(&suite.cluster, name)?)?;
    }
    Ok(())
}
