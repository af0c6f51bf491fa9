//! A gateway of class `culvert`: clients from outside of the mesh reach servers in it, each request once, over HTTP and HTTPS,
//! while its certificate and its pods are replaced.

mod object;

pub(super) use object::ingress_object;

use super::app::{APP, OUTSIDER};
use super::waypoint::gone;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{PATIENCE, conditions, pause},
    mesh,
    run::{self, Output},
    traffic::Traffic,
};
use culvert_lab::wait;
use std::{
    process::Command,
    time::{Duration, SystemTime},
};

const OBJECTS: &str = include_str!("../../manifests/ingress.yaml");
const REQUESTS: usize = 200;

/// HTTP by weight, a redirect, HTTPS with one certificate and then another, a rolling update under load.
pub(super) fn gateway(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let first = certificate()?;
    k.apply(&secret(&first))?;
    k.apply(OBJECTS)?;
    programmed(suite)?;
    let address = k.field(APP, "gateway/ingress", ".status.addresses[0].value")?;
    let since = SystemTime::now();
    let (one, two) = halves(suite)?;
    refused(suite, &address)?;
    let secure = |root: &str| tls(suite, &address, root, "secure.e2e.test");
    for _ in 0..20 {
        let text = secure(&first.chain)?.success()?;
        ensure!(
            text.contains("name: echo2\n") && text.contains("x-forwarded-proto: https"),
            "{text}"
        );
    }
    ensure!(
        !tls(suite, &address, &first.chain, "other.e2e.test")?.ok,
        "a name that no listener has was served"
    );
    let crossed = crossed(suite, since, APP, "ingress")?;

    let load = Traffic::load(&k, OUTSIDER, "outsider", "0.02", "ingress.e2e-app", "80")?;
    let second = certificate()?;
    k.apply(&secret(&second))?;
    wait::until("the new certificate is served", wait::PATIENCE, || {
        pause();
        let answer = secure(&second.chain)?;
        ensure!(answer.ok, "{}", answer.text());
        Ok(Some(()))
    })?;
    ensure!(
        !secure(&first.chain)?.ok,
        "the old certificate is still served"
    );
    k.run(&["-n", APP, "rollout", "restart", "deployment/ingress"])?;
    rolled_out(suite)?;
    let load = load.finish(50)?.all_answered()?;
    remove(suite)?;
    Ok(vec![
        format!(
            "{REQUESTS} requests of {REQUESTS}: {one} and {two}; {crossed} HBONE connections from the gateway"
        ),
        format!("another certificate and a rolling update: {load}"),
    ])
}

/// A certificate for `secure.e2e.test` that is its own root.
struct Certificate {
    chain: String,
    key: String,
}

fn certificate() -> Result<Certificate> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args([
        "-days",
        "2",
        "-subj",
        "/CN=secure.e2e.test",
        "-keyout",
        "-",
        "-out",
        "-",
    ]);
    openssl.args(["-addext", "subjectAltName=DNS:secure.e2e.test"]);
    let pem = run::run(&mut openssl, "", Duration::from_secs(30))?.success()?;
    let at = pem
        .find("-----BEGIN CERTIFICATE-----")
        .context("no certificate")?;
    let (key, chain) = pem.split_at(at);
    Ok(Certificate {
        chain: chain.to_owned(),
        key: key.to_owned(),
    })
}

fn secret(certificate: &Certificate) -> String {
    let (chain, key) = (&certificate.chain, &certificate.key);
    serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "secure", "namespace": APP},
        "stringData": {"tls.crt": chain, "tls.key": key},
    })
    .to_string()
}

/// Both instances are ready, and the Gateway says how many routes each listener has.
fn programmed(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    wait::until("the gateway is programmed", PATIENCE, || {
        pause();
        let gateway = k.json(&["-n", APP, "gateway", "ingress"])?;
        let is =
            |kind| conditions(&gateway).any(|one| one["type"] == kind && one["status"] == "True");
        let listeners = gateway["status"]["listeners"].as_array();
        let attached: Vec<_> = listeners
            .into_iter()
            .flatten()
            .map(|listener| listener["attachedRoutes"].as_u64())
            .collect();
        ensure!(
            is("Accepted") && is("Programmed") && attached == [Some(2), Some(1)],
            "{}",
            gateway["status"]
        );
        Ok(Some(()))
    })?;
    rolled_out(suite)
}

/// Every instance is there as it is to be.
fn rolled_out(suite: &Suite) -> Result<()> {
    let of = ["-n", APP, "rollout", "status", "deployment/ingress"];
    let k = &suite.cluster.kubectl;
    k.run(&[&of[..], &["--timeout=120s"]].concat())?;
    Ok(())
}

/// How many of all requests each half of the route got.
fn halves(suite: &Suite) -> Result<(usize, usize)> {
    let k = &suite.cluster.kubectl;
    let many = format!("for i in $(seq {REQUESTS}); do curl -sS -m 10 http://ingress.{APP}/; done");
    let text = k.sh_ok(OUTSIDER, "outsider", &many)?;
    let (one, two) = (
        text.matches("name: echo1\n").count(),
        text.matches("name: echo2\n").count(),
    );
    let routed = text.matches("x-routed: yes").count();
    ensure!(
        one + two == REQUESTS && routed == REQUESTS,
        "{one} + {two} answers of {REQUESTS}, {routed} by the route"
    );
    // 200 throws of a coin leave 65..=135 once in a million.
    ensure!(
        (65..=135).contains(&one),
        "{one} of {REQUESTS} for a weight of a half"
    );
    Ok((one, two))
}

/// A host of no route, and one that is to come by HTTPS.
fn refused(suite: &Suite, address: &str) -> Result<()> {
    let ask = |host: &str| {
        let format = "%{http_code} %{redirect_url}";
        let script = format!(
            "curl -sS -m 10 -o /dev/null -w '{format}' -H 'host: {host}' http://{address}/a"
        );
        suite.cluster.kubectl.sh_ok(OUTSIDER, "outsider", &script)
    };
    let (unknown, elsewhere) = (ask("unknown.e2e.test")?, ask("secure.e2e.test")?);
    ensure!(unknown.trim() == "404", "an unknown host: {unknown}");
    ensure!(
        elsewhere.trim() == "301 https://secure.e2e.test/a",
        "{elsewhere}"
    );
    Ok(())
}

/// One request over HTTPS, trusting `root` alone.
fn tls(suite: &Suite, address: &str, root: &str, name: &str) -> Result<Output> {
    let script = format!(
        "curl -sS -m 10 --cacert <(printf %s '{root}') --resolve {name}:443:{address} https://{name}/"
    );
    suite.cluster.kubectl.sh(OUTSIDER, "outsider", &script)
}

/// What went from the gateway's pods to the servers since is HBONE.
fn crossed(suite: &Suite, since: SystemTime, namespace: &str, name: &str) -> Result<usize> {
    let k = &suite.cluster.kubectl;
    let label = format!("gateway.networking.k8s.io/gateway-name={name}");
    let pods = k.list(&["-n", namespace, "pods", "-l", &label])?;
    let gateway: Vec<_> = pods.iter().flat_map(mesh::addresses).collect();
    // A pod of the gateway's own node is not beyond the link.
    let servers = [
        suite.addresses(APP, "echo1")?,
        suite.addresses(APP, "echo2")?,
    ]
    .concat();
    suite.crossed(since, &gateway, &servers, true)
}

/// Nothing of it stays.
fn remove(suite: &Suite) -> Result<()> {
    let k = &suite.cluster.kubectl;
    k.run(&["-n", APP, "delete", "gateway/ingress", "secret/secure"])?;
    k.run(&[
        "-n",
        APP,
        "delete",
        "httproute",
        "halves",
        "to-https",
        "secure",
    ])?;
    gone(suite, "ingress")
}
