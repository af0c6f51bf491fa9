//! A consumer route: it holds for clients of its own namespace, each of their requests, and for nobody else.

use super::app::APP;
use super::waypoint::{by_parent, deploy, retire};
use crate::suite::Suite;
use anyhow::{Result, ensure};
use culvert_e2e::kubectl::pause;
use culvert_lab::wait;

/// The namespace whose route it is.
pub(super) const CONSUMER: &str = "e2e-consumer";
const OBJECTS: &str = include_str!("../../manifests/consumer.yaml");
const REQUESTS: usize = 50;

/// Every request of the consumer has what its route adds, none of the service's own namespace has it.
pub(super) fn own_clients_only(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    deploy(suite)?;
    let k = suite.cluster.kubectl.clone();
    let label = |change: &str| k.run(&["-n", APP, "label", "service", "echo1", change]);
    label("culvert.dev/use-waypoint=waypoint")?;
    k.apply(OBJECTS)?;
    k.wait_ready(CONSUMER, "app=consumer")?;
    suite.settled(CONSUMER)?;
    let url = format!("http://echo1.{APP}/");
    wait::until("the route is in force", wait::PATIENCE, || {
        pause();
        let text = suite.get(CONSUMER, "consumer", &url)?.text();
        ensure!(text.contains("x-consumer: yes"), "{text}");
        let route = k.json(&["-n", CONSUMER, "httproute", "ours"])?;
        let is = |kind| by_parent(&route).any(|one| one["type"] == kind && one["status"] == "True");
        ensure!(is("Accepted") && is("ResolvedRefs"), "{}", route["status"]);
        Ok(Some(()))
    })?;
    let many = format!("for i in $(seq {REQUESTS}); do curl -sS -m 10 {url}; done");
    for (namespace, pod, routed) in [(CONSUMER, "consumer", REQUESTS), (APP, "near", 0)] {
        let text = k.sh_ok(namespace, pod, &many)?;
        let answers = text.matches("name: echo1\n").count();
        let changed = text.matches("x-consumer: yes").count();
        ensure!(
            answers == REQUESTS && changed == routed,
            "{pod}: {answers} answers of {REQUESTS}, {changed} by the route"
        );
    }
    suite.link.released(|pod| pod.starts_with(CONSUMER));
    k.delete_namespaces(&[CONSUMER])?;
    label("culvert.dev/use-waypoint-")?;
    retire(suite)?;
    Ok(vec![format!(
        "{REQUESTS} requests of {REQUESTS} by the route, none of {REQUESTS} of another namespace"
    )])
}
