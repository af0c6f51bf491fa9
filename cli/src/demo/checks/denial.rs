//! Check 5: policy. A denial reaches what is already open; STRICT leaves no way in for plaintext.

use crate::demo::{
    checks::Evidence,
    client,
    stage::{EFFECT, NAMESPACE, Stage},
};
use anyhow::{Context, Result, ensure};
use culvert_lab::{Pod, Process, wait};
use std::time::Instant;

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    let (denied, refused) = (deny_one(stage), refuse_plaintext(stage));
    Ok([denied?, refused?].concat())
}

fn policy(service_account: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: no-guests, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: redis}}}}
  action: DENY
  rules:
  - from:
    - source: {{principals: [cluster.local/ns/{NAMESPACE}/sa/{service_account}]}}
"
    )
}

fn strict(mode: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1
kind: PeerAuthentication
metadata: {{name: default, namespace: {NAMESPACE}}}
spec:
  mtls: {{mode: {mode}}}
"
    )
}

/// A connection that stays open and silent.
fn subscribe(pod: &Pod) -> Result<Process> {
    let name = format!("subscriber-{}", pod.name);
    let process = pod
        .net
        .spawn(&name, &["redis-cli", "-h", "redis", "SUBSCRIBE", "news"])?;
    process.wait_for_log("subscribe")?;
    Ok(process)
}

fn ping(pod: &Pod) -> bool {
    pod.net
        .run(&["timeout", "5", "redis-cli", "-e", "-h", "redis", "PING"])
        .is_ok()
}

fn deny_one(stage: &mut Stage<'_>) -> Result<Evidence> {
    let (client, guest) = (stage.pods.client.clone(), stage.pods.guest.clone());
    let mut denied = subscribe(&guest)?;
    let mut allowed = subscribe(&client)?;
    let name = if stage.sabotaged(5) {
        "nobody"
    } else {
        "guest"
    };
    let evidence = stage.with_object("no-guests", &policy(name), |_| {
        let start = Instant::now();
        denied
            .wait(EFFECT)
            .context("the live connection of the denied client stayed open")?;
        let ended = start.elapsed();
        ensure!(!ping(&guest), "{} still reaches redis", guest.name);
        ensure!(
            ping(&client),
            "{} does not reach redis any more",
            client.name
        );
        client.net.run(&[
            "redis-cli",
            "-e",
            "-h",
            "redis",
            "PUBLISH",
            "news",
            "still-here",
        ])?;
        allowed
            .wait_for_log("still-here")
            .context("the live connection of the other client is dead")?;
        ensure!(
            allowed.is_running(),
            "the live connection of the other client ended too"
        );
        Ok(vec![
            format!(
                "{}: its open connection ended {} ms after the policy was written, new ones fail",
                guest.identity(),
                ended.as_millis()
            ),
            format!(
                "{}: its open connection still carries messages, new ones succeed",
                client.identity()
            ),
        ])
    })?;
    wait::until_true("the denial to be lifted", || ping(&guest))?;
    Ok(evidence)
}

fn refuse_plaintext(stage: &mut Stage<'_>) -> Result<Evidence> {
    let url = client::url(&stage.pods.web_v1);
    stage.wait_answer(&stage.pods.outsider, &url, true)?;
    let mode = if stage.sabotaged(5) {
        "PERMISSIVE"
    } else {
        "STRICT"
    };
    let evidence = stage.with_object("strict", &strict(mode), |stage| {
        stage.wait_answer(&stage.pods.outsider, &url, false)?;
        client::get(&stage.pods.client, &url, &[])?.all_ok()?;
        Ok(vec![format!(
            "STRICT: {} (no mesh, {}) is refused by {url}, {} is not",
            stage.pods.outsider.name,
            stage.pods.outsider.ip(),
            stage.pods.client.name
        )])
    })?;
    stage.wait_answer(&stage.pods.outsider, &url, true)?;
    Ok(evidence)
}
