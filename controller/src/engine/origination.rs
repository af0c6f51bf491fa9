//! Who is told how TLS is begun at backends, and which Gateways a policy's status is about.

use serde_json::{Value, json};

use super::tests::{batch, engine};
use super::*;
use crate::serve::view_names;
use crate::testing::{
    backend_tls, config_map, gateway, namespace, pairs, pod_value, route, secret, service, waypoint,
};
use crate::translate::Type;

fn policy(name: &str, service: &str) -> Value {
    let refs = json!([{"group": "", "kind": "ConfigMap", "name": "ca"}]);
    let validation = json!({"hostname": "a.example", "caCertificateRefs": refs});
    backend_tls("demo", name, (service, None), validation)
}

fn mesh() -> Vec<Value> {
    let http = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let mut web = service("demo", "web", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let rules = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    vec![
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        web,
        service("demo", "else", "b", "10.96.0.2"),
        gateway("demo", "edge", http.clone()),
        gateway("demo", "other", http),
        waypoint("demo", "gate", "10.0.0.9"),
        route(
            "demo",
            "r",
            json!({"parentRefs": [{"name": "edge"}], "rules": rules}),
        ),
        config_map("demo", "ca", &pairs()[0].0),
        policy("web", "web"),
        policy("else", "else"),
    ]
}

fn told(engine: &Engine, client: &Client) -> Vec<String> {
    view_names(&engine.current(), client, Type::BackendTlsPolicy)
}

fn instance(name: &str) -> Client {
    Client::Waypoint(NsName::new("demo", name))
}

fn step(engine: &mut Engine, objects: &[Value]) {
    engine.step(Event::Batch(batch(objects)));
}

fn remove(engine: &mut Engine, object: &Value) {
    let changes = vec![Change::Remove(crate::testing::object(object).key())];
    engine.step(Event::Batch(Batch {
        changes,
        ..Batch::default()
    }));
}

/// The version of what is told of a policy.
fn version(engine: &Engine, name: &str) -> Option<String> {
    let all = engine.current().all(Type::BackendTlsPolicy);
    all.get(name).map(|served| served.version.to_string())
}

#[test]
fn whoever_sends_to_a_service_is_told_how() {
    let engine = engine(&mesh());
    for name in ["edge", "gate"] {
        assert_eq!(
            told(&engine, &instance(name)),
            ["BackendTLSPolicy/demo/web"],
            "{name}"
        );
    }
    for other in [instance("other"), Client::Node("n1".into())] {
        assert_eq!(told(&engine, &other), Vec::<String>::new());
    }
    let ancestors = engine.view().ancestors;
    let of = |name: &str| {
        let gateways = ancestors[&NsName::new("demo", name)].iter();
        gateways.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of("web"), ["demo/edge", "demo/gate"]);
    assert_eq!(of("else"), Vec::<String>::new());
}

#[test]
fn another_bundle_is_another_version_and_one_that_is_gone_trusts_nobody() {
    let mut engine = engine(&mesh());
    let name = "BackendTLSPolicy/demo/web";
    let first = version(&engine, name).unwrap();
    let problems = |engine: &Engine| {
        let of_web = engine.problems.iter().map(|p| &p.rejection);
        of_web
            .filter(|r| r.object == "BackendTLSPolicy demo/web")
            .count()
    };
    assert_eq!(problems(&engine), 0);
    step(&mut engine, &[config_map("demo", "ca", &pairs()[1].0)]);
    let second = version(&engine, name).unwrap();
    assert_ne!(first, second);
    // What was good before does not stay.
    step(&mut engine, &[config_map("demo", "ca", "")]);
    let empty = version(&engine, name).unwrap();
    assert!(empty != first && empty != second);
    assert_eq!(problems(&engine), 2);
    assert_eq!(
        told(&engine, &instance("edge")),
        [name],
        "who is not to be reached is told"
    );
    remove(&mut engine, &config_map("demo", "ca", ""));
    assert_eq!(problems(&engine), 2);
    step(&mut engine, &[config_map("demo", "ca", &pairs()[0].0)]);
    assert_eq!(
        (version(&engine, name), problems(&engine)),
        (Some(first), 0)
    );
    // Another ConfigMap is nothing to it.
    let before = engine.current().stamp(Type::BackendTlsPolicy);
    step(
        &mut engine,
        &[config_map("demo", "kube-root-ca.crt", &pairs()[1].0)],
    );
    assert_eq!(engine.current().stamp(Type::BackendTlsPolicy), before);
}

#[test]
fn who_goes_before_is_found_anew_when_one_goes() {
    let mut engine = engine(&mesh());
    let second = policy("x", "web");
    step(&mut engine, std::slice::from_ref(&second));
    let edge = instance("edge");
    assert_eq!(told(&engine, &edge), ["BackendTLSPolicy/demo/web"]);
    assert_eq!(version(&engine, "BackendTLSPolicy/demo/x"), None);
    remove(&mut engine, &policy("web", "web"));
    assert_eq!(told(&engine, &edge), ["BackendTLSPolicy/demo/x"]);
    remove(&mut engine, &second);
    assert_eq!(told(&engine, &edge), Vec::<String>::new());
}

#[test]
fn the_certificate_for_backends_is_told_to_its_gateway_alone() {
    let mut engine = engine(&mesh());
    let (chain, key) = &pairs()[0];
    let mut edge = gateway(
        "demo",
        "edge",
        json!([{"name": "http", "port": 80, "protocol": "HTTP"}]),
    );
    edge["spec"]["tls"] = json!({"backend": {"clientCertificateRef": {"name": "client"}}});
    step(&mut engine, &[edge]);
    let state = |engine: &Engine| {
        let state = engine.current().gateways[&NsName::new("demo", "edge")].clone();
        state.client_certificate.as_ref().map(|(reason, _)| *reason)
    };
    assert_eq!(state(&engine), Some("InvalidClientCertificateRef"));
    step(&mut engine, &[secret("demo", "client", (chain, key))]);
    assert_eq!(state(&engine), None);
    let certificates =
        |name: &str| view_names(&engine.current(), &instance(name), Type::Certificate);
    assert_eq!(certificates("edge"), ["Secret/demo/client"]);
    assert_eq!(certificates("other"), Vec::<String>::new());
}
