//! Policy on real pods: who may talk to whom, what admission refuses, what conditions and events say.

use super::app::{APP, OUTSIDER};
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{conditions, pause},
    run::{self, root},
};
use culvert_lab::wait;
use serde_json::Value;
use std::{process::Command, time::Duration};

pub(super) fn authorization(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {APP}}}\nspec: {spec}\n"
    )
}

impl Suite {
    /// Waits until a connection fails, or succeeds: policy follows the API.
    pub(super) fn admitted(
        &self,
        namespace: &str,
        pod: &str,
        url: &str,
        wanted: bool,
    ) -> Result<()> {
        let word = if wanted { "admitted" } else { "refused" };
        wait::until(format!("{pod} is {word} at {url}"), wait::PATIENCE, || {
            let output = self.get(namespace, pod, url)?;
            ensure!(output.ok == wanted, "{}", output.text());
            Ok(Some(()))
        })
    }
}

/// ALLOW and DENY by principal, across nodes and on one, and off again.
pub(super) fn by_principal(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let url = "http://echo2/";
    for client in ["near", "far"] {
        suite.get_from(APP, client, url, "echo2")?;
    }
    k.apply(&authorization(
        "only-near",
        "{selector: {matchLabels: {app: echo2}}, action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/e2e-app/sa/near]}}]}]}",
    ))?;
    suite.admitted(APP, "far", url, false)?;
    suite.get_from(APP, "near", url, "echo2")?;
    suite.get_from(APP, "far", "http://echo1/", "echo1")?;
    k.apply(&authorization(
        "not-near",
        "{selector: {matchLabels: {app: echo2}}, action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/e2e-app/sa/near]}}]}]}",
    ))?;
    suite.admitted(APP, "near", url, false)?;
    ensure!(!suite.get(APP, "far", url)?.ok, "far is admitted again");
    k.run(&[
        "-n",
        APP,
        "delete",
        "authorizationpolicies.culvert.dev",
        "only-near",
        "not-near",
    ])?;
    suite.admitted(APP, "near", url, true)?;
    suite.admitted(APP, "far", url, true)?;
    Ok(Vec::new())
}

/// STRICT refuses who is not in the mesh, and nobody else.
pub(super) fn strict(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let address = suite.addresses(APP, "echo2")?[0];
    let url = format!("http://{address}:8080/");
    suite.get_from(OUTSIDER, "outsider", &url, "echo2")?;
    k.apply(&format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: {APP}}}\nspec: {{mtls: {{mode: STRICT}}}}\n"
    ))?;
    suite.admitted(OUTSIDER, "outsider", &url, false)?;
    suite.get_from(APP, "near", &url, "echo2")?;
    suite.get_from(APP, "far", &url, "echo2")?;
    k.run(&[
        "-n",
        APP,
        "delete",
        "peerauthentications.culvert.dev",
        "default",
    ])?;
    suite.admitted(OUTSIDER, "outsider", &url, true)?;
    Ok(Vec::new())
}

/// The API server refuses what no policy can mean, and says what to write. The objects are in `tests/e2e/admission`.
pub(super) fn admission(suite: &mut Suite) -> Result<Vec<String>> {
    let k = &suite.cluster.kubectl;
    let output = run::run(
        Command::new(root().join("tests/e2e/admission/run"))
            .env("KUBECONFIG", &k.kubeconfig)
            .env("KUBECTL", root().join("target/cluster/bin/kubectl")),
        "",
        Duration::from_secs(120),
    )?;
    let text = output.success()?;
    let last = text.lines().last().context("the script said nothing")?;
    Ok(vec![last.to_owned()])
}

/// Conditions tell which policies are in force and which are not, and why.
pub(super) fn statuses(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    k.apply(&authorization(
        "nobody",
        "{selector: {matchLabels: {app: echo2}}, action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/none/sa/none]}}]}]}",
    ))?;
    k.apply(&authorization(
        "astray",
        "{targetRefs: [{kind: Service, name: no-such-service}], rules: [{}]}",
    ))?;
    let told = |name: &str, wanted: fn(&Value) -> bool| {
        let object = format!("authorizationpolicies.culvert.dev/{name}");
        wait::until(format!("the conditions of {name}"), wait::PATIENCE, || {
            pause();
            let object = k.json(&["-n", APP, &object])?;
            ensure!(
                conditions(&object).any(wanted) || ancestors(&object).any(wanted),
                "status: {}",
                object["status"]
            );
            Ok(Some(()))
        })
    };
    told("nobody", |one| {
        one["type"] == "Accepted" && one["status"] == "True"
    })?;
    told("nobody", |one| {
        one["type"] == "Enforced" && one["status"] == "True"
    })?;
    told("astray", |one| {
        one["status"] == "False"
            && one["message"]
                .as_str()
                .is_some_and(|text| text.contains("no-such-service"))
    })?;
    suite.admitted(APP, "near", "http://echo2/", false)?;
    let event = suite.event(APP, "echo2", "nobody");
    k.run(&[
        "-n",
        APP,
        "delete",
        "authorizationpolicies.culvert.dev",
        "nobody",
        "astray",
    ])?;
    suite.admitted(APP, "near", "http://echo2/", true)?;
    Ok(vec![event?])
}

/// Conditions by ancestor, as the Gateway API's policies have them.
fn ancestors(object: &Value) -> impl Iterator<Item = &Value> {
    let all = object["status"]["ancestors"]
        .as_array()
        .into_iter()
        .flatten();
    all.filter_map(|one| one["conditions"].as_array()).flatten()
}
