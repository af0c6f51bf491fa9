//! An Ingress object: the shared gateway comes with it and goes with it, its address is in the Ingress's status, and a second
//! namespace that asks for its host is refused and told.

use super::{APP, OUTSIDER, certificate, crossed, secret, tls};
use crate::suite::Suite;
use anyhow::{Result, ensure};
use culvert_e2e::kubectl::{PATIENCE, pause};
use culvert_lab::wait;

/// Where the gateway is.
const SYSTEM: &str = "culvert-system";
const OBJECTS: &str = include_str!("../../../manifests/ingress-object.yaml");
const HOST: &str = "secure.e2e.test";

/// HTTP with its redirect, HTTPS, a host of one label, and whose it is.
pub(in super::super) fn ingress_object(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    // Nothing gives LoadBalancers an address here.
    let annotation = "culvert.dev/service-type=ClusterIP";
    k.run(&[
        "annotate",
        "ingressclass",
        "culvert",
        annotation,
        "--overwrite",
    ])?;
    let own = certificate()?;
    k.apply(&secret(&own))?;
    k.apply(OBJECTS)?;
    let address = wait::until("the Ingress has an address", PATIENCE, || {
        pause();
        let path = ".status.loadBalancer.ingress[0].ip";
        let address = k.field(APP, "ingress/secure", path)?;
        Ok((!address.is_empty()).then_some(address))
    })?;
    k.rolled_out(SYSTEM, "deployment/culvert-ingress")?;
    let since = std::time::SystemTime::now();
    wait::until("HTTPS is served", PATIENCE, || {
        pause();
        let answer = tls(suite, &address, &own.chain, HOST)?;
        ensure!(
            answer.ok && answer.text().contains("name: echo2\n"),
            "{}",
            answer.text()
        );
        Ok(Some(()))
    })?;
    let ask = |host: &str, path: &str| {
        let format = "%{http_code} %{redirect_url}";
        let script = format!(
            "curl -sS -m 10 -o /dev/null -w '{format}' -H 'host: {host}' http://{address}{path}"
        );
        k.sh_ok(OUTSIDER, "outsider", &script)
    };
    for (host, path, expected) in [
        (HOST, "/a", "308 https://secure.e2e.test/a"),
        ("any.plain.e2e.test", "/aaa/b", "200"),
        ("any.plain.e2e.test", "/aaab", "404"),
        ("a.b.plain.e2e.test", "/aaa", "404"),
    ] {
        let answer = ask(host, path)?;
        ensure!(answer.trim() == expected, "{host}{path}: {answer}");
    }
    let crossed = crossed(suite, since, SYSTEM, "culvert-ingress")?;
    refused(suite)?;
    remove(suite)?;
    Ok(vec![format!(
        "HTTP, HTTPS and a redirect at {address}; {crossed} HBONE connections from the gateway"
    )])
}

/// An Ingress of another namespace for the same host is told that it is not served.
fn refused(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    let taker = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "taker", "namespace": OUTSIDER},
        "spec": {"ingressClassName": "culvert", "rules": [{"host": HOST}]},
    });
    k.apply(&taker.to_string())?;
    wait::until("the second namespace is told", PATIENCE, || {
        pause();
        let events = k.list(&["-n", OUTSIDER, "events"])?;
        let told = |event: &serde_json::Value| {
            event["reason"] == "HostNotOwned" && event["involvedObject"]["name"] == "taker"
        };
        Ok(events.iter().any(told).then_some(()))
    })?;
    k.run(&["-n", OUTSIDER, "delete", "ingress/taker"])?;
    Ok(())
}

/// The gateway goes with the last Ingress, and all that was made for it with the gateway.
fn remove(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    k.run(&[
        "-n",
        APP,
        "delete",
        "ingress/secure",
        "ingress/plain",
        "secret/secure",
    ])?;
    k.run(&[
        "annotate",
        "ingressclass",
        "culvert",
        "culvert.dev/service-type-",
    ])?;
    wait::until("nothing of the gateway is left", PATIENCE, || {
        pause();
        let label = "gateway.networking.k8s.io/gateway-name=culvert-ingress";
        let gateways = k.list(&["-n", SYSTEM, "gateways"])?;
        let made = k.list(&[
            "-n",
            SYSTEM,
            "deployments,services,serviceaccounts",
            "-l",
            label,
        ])?;
        Ok((gateways.is_empty() && made.is_empty()).then_some(()))
    })
}
