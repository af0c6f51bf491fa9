//! A waypoint from its Gateway to its end: deployed, in the way of every request, splitting, gone.

use super::app::APP;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{conditions, pause},
    run::{self, Output, root},
};
use culvert_lab::wait;
use serde_json::Value;
use std::{process::Command, time::Duration};

impl Suite {
    /// Runs `culvert` on the cluster.
    pub(super) fn culvert(&self, args: &[&str]) -> Result<Output> {
        run::run(
            Command::new(root().join("target/release/culvert"))
                .args(args)
                .env("KUBECONFIG", &self.cluster.kubectl.kubeconfig),
            "",
            Duration::from_secs(300),
        )
    }
}

/// Routes' conditions are by parent.
pub(super) fn by_parent(object: &Value) -> impl Iterator<Item = &Value> {
    let all = object["status"]["parents"].as_array().into_iter().flatten();
    all.filter_map(|one| one["conditions"].as_array()).flatten()
}

/// `culvert waypoint apply`, a split of 50 to 50, deletion.
pub(super) fn split(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    deploy(suite)?;
    let (one, two) = halves(suite)?;
    remove(suite)?;
    Ok(vec![format!(
        "200 requests of 200 through the route: {one} and {two}"
    )])
}

/// What makes a waypoint is there, and the Gateway says so.
pub(super) fn deploy(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    suite
        .culvert(&["waypoint", "apply", "-n", APP, "--wait"])?
        .success()
        .context("culvert waypoint apply --wait")?;
    let gateway = k.json(&["-n", APP, "gateway", "waypoint"])?;
    for kind in ["Accepted", "Programmed"] {
        ensure!(
            conditions(&gateway).any(|one| one["type"] == kind && one["status"] == "True"),
            "the Gateway is not {kind}: {}",
            gateway["status"]
        );
    }
    for kind in [
        "deployment",
        "service",
        "serviceaccount",
        "poddisruptionbudget",
    ] {
        let found = k.list(&[
            "-n",
            APP,
            kind,
            "-l",
            "gateway.networking.k8s.io/gateway-name=waypoint",
        ])?;
        ensure!(
            found.len() == 1,
            "{} of kind {kind} for the waypoint",
            found.len()
        );
    }
    Ok(())
}

/// How many of 200 requests each half of a route got.
fn halves(suite: &Suite) -> Result<(usize, usize)> {
    let k = &suite.cluster.kubectl;
    k.run(&[
        "-n",
        APP,
        "label",
        "service",
        "echo1",
        "culvert.dev/use-waypoint=waypoint",
        "--overwrite",
    ])?;
    k.apply(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: halves, namespace: {APP}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: echo1, port: 80}}]\n  rules:\n  - filters:\n    - type: RequestHeaderModifier\n      \
         requestHeaderModifier: {{set: [{{name: x-routed, value: \"yes\"}}]}}\n    backendRefs: [{{name: echo1, port: 80, weight: 50}}, {{name: echo2, port: 80, weight: 50}}]\n"
    ))?;
    wait::until("the route is in force", wait::PATIENCE, || {
        pause();
        let text = suite.get(APP, "near", "http://echo1/")?.text();
        ensure!(text.contains("x-routed: yes"), "{text}");
        Ok(Some(()))
    })?;
    wait::until("the route's conditions", wait::PATIENCE, || {
        pause();
        let route = k.json(&["-n", APP, "httproute", "halves"])?;
        let is = |kind| by_parent(&route).any(|one| one["type"] == kind && one["status"] == "True");
        ensure!(is("Accepted") && is("ResolvedRefs"), "{}", route["status"]);
        Ok(Some(()))
    })?;
    let text = k.sh_ok(
        APP,
        "near",
        "for i in $(seq 200); do curl -sS -m 10 http://echo1/; done",
    )?;
    let (one, two) = (
        text.matches("name: echo1\n").count(),
        text.matches("name: echo2\n").count(),
    );
    let routed = text.matches("x-routed: yes").count();
    ensure!(
        one + two == 200 && routed == 200,
        "{one} + {two} answers of 200, {routed} through the route"
    );
    // 200 throws of a coin leave 65..135 once in a million.
    ensure!(
        (65..=135).contains(&one),
        "{one} of 200 for a weight of a half"
    );
    let list = suite.culvert(&["waypoint", "list", "-n", APP])?.success()?;
    ensure!(list.contains("waypoint"), "{list}");
    Ok((one, two))
}

/// Nothing of the route and the waypoint stays.
fn remove(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    k.run(&["-n", APP, "delete", "httproute", "halves"])?;
    k.run(&[
        "-n",
        APP,
        "label",
        "service",
        "echo1",
        "culvert.dev/use-waypoint-",
    ])?;
    retire(suite)?;
    wait::until("echo1 answers without its waypoint", wait::PATIENCE, || {
        let text = suite.get_from(APP, "near", "http://echo1/", "echo1")?;
        ensure!(!text.contains("x-routed"), "still routed");
        Ok(Some(()))
    })
}

/// Nothing of the waypoint stays.
pub(super) fn retire(suite: &Suite) -> Result<()> {
    suite
        .culvert(&["waypoint", "delete", "-n", APP, "waypoint"])?
        .success()?;
    gone(suite, "waypoint")
}

/// Waits until nothing of what was made for a Gateway is left.
pub(super) fn gone(suite: &Suite, gateway: &str) -> Result<()> {
    let k = &suite.cluster.kubectl;
    let of = format!("gateway.networking.k8s.io/gateway-name={gateway}");
    let what = format!("the objects of Gateway {gateway} are gone");
    wait::until(what, culvert_e2e::kubectl::PATIENCE, || {
        pause();
        let left = k.list(&[
            "-n",
            APP,
            "deployments,services,serviceaccounts,poddisruptionbudgets,pods",
            "-l",
            &of,
        ])?;
        ensure!(left.is_empty(), "{} objects", left.len());
        Ok(Some(()))
    })
}
