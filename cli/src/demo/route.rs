//! Routes of the service `shop`, each of which stamps its name on responses, so that one can tell when it is in force.

use crate::demo::stage::{EFFECT, NAMESPACE, Stage};
use anyhow::Result;
use culvert_lab::{objects::Port, wait};

/// Where the routes' service is.
pub(crate) const URL: &str = "http://shop/";

/// Sends the traffic of `shop` through the waypoint.
pub(crate) fn use_waypoint(stage: &Stage<'_>) -> Result<()> {
    stage.put_service(
        "shop",
        Port::same(80),
        &[("culvert.dev/use-waypoint", "waypoint")],
    )
}

/// A route with these rules, in each of which `STAMP` stands for the filter that stamps `name`.
pub(crate) fn route(name: &str, rules: &str) -> String {
    let set = format!("{{set: [{{name: x-route, value: {name}}}]}}");
    let stamp = format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {set}}}");
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: shop, port: 80}}]
  rules:
{}",
        rules.replace("STAMP", &stamp)
    )
}

/// Rules that send this much to each version.
pub(crate) fn weights(v1: u32, v2: u32) -> String {
    format!(
        "  - filters: [STAMP]
    backendRefs:
    - {{name: web-v1, port: 80, weight: {v1}}}
    - {{name: web-v2, port: 80, weight: {v2}}}
"
    )
}

/// Waits until responses carry the stamp of the route.
pub(crate) fn wait_in_force(stage: &Stage<'_>, name: &str) -> Result<()> {
    wait::until(format!("route `{name}` to be in force"), EFFECT, || {
        let argv = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-D", "-", URL];
        let head = stage.pods.client.net.run(&argv)?;
        let stamp = format!("x-route: {name}");
        Ok(head
            .lines()
            .any(|line| line.trim().eq_ignore_ascii_case(&stamp))
            .then_some(()))
    })
}
