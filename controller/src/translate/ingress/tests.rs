//! Certificates go to whom they are permitted to, and a listener says what is wrong with it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use serde_json::{Value, json};

use super::*;
use crate::testing::{culvert, gateway, grant, object, pairs, secret, world};
use crate::translate::{Message, Type};

fn https(name: &str, references: Value) -> Value {
    let port = 443;
    json!([{"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": references}}])
}

fn good(namespace: &str) -> Value {
    let (chain, key) = &pairs()[0];
    secret(namespace, "cert", (chain, key))
}

/// What is made for the gateway `demo/edge`.
fn made(world: &World) -> (wire::Gateway, Vec<String>, Vec<ListenerWord>) {
    let name = NsName::new("demo", "edge");
    let object = world.cache.gateways.get(&name).unwrap();
    let listeners = object.spec.listeners.as_deref().unwrap();
    let (made, _) = of(world, &name, listeners);
    let mut certificates = Vec::new();
    let mut told = None;
    for resource in made {
        match resource.message {
            Message::Gateway(message) => told = Some(message),
            message => {
                assert_eq!(message.kind(), Type::Certificate);
                certificates.push(resource.name.to_string());
            }
        }
    }
    let state = state(world, &name, listeners, &BTreeMap::new());
    let words = state.listeners.into_iter().flat_map(|l| l.words);
    (told.unwrap(), certificates, words.collect())
}

fn word(words: &[ListenerWord], condition: &str) -> (bool, &'static str) {
    let found = words.iter().find(|word| word.condition == condition);
    found.map(|word| (word.status, word.reason)).unwrap()
}

#[test]
fn a_certificate_is_told_if_it_is_there_and_permitted() {
    let own = json!([{"name": "cert"}]);
    let far = json!([{"name": "cert", "namespace": "far"}]);
    let bad = secret("demo", "cert", ("x", "y"));
    let for_routes = || grant("far", ("HTTPRoute", "demo"), "Secret");
    let for_others = || grant("far", ("Gateway", "other"), "Secret");
    let permits = || grant("far", ("Gateway", "demo"), "Secret");
    let resolved = (true, "ResolvedRefs");
    let invalid = (false, "InvalidCertificateRef");
    let forbidden = (false, "RefNotPermitted");
    for (references, objects, expected, told) in [
        (own.clone(), vec![good("demo")], resolved, true),
        (own.clone(), vec![good("far")], invalid, false),
        (own, vec![bad], invalid, false),
        (json!([]), vec![], invalid, false),
        (
            json!([{"kind": "ConfigMap", "name": "cert"}]),
            vec![good("demo")],
            invalid,
            false,
        ),
        (far.clone(), vec![good("far")], forbidden, false),
        (
            far.clone(),
            vec![good("far"), for_routes()],
            forbidden,
            false,
        ),
        (
            far.clone(),
            vec![good("far"), for_others()],
            forbidden,
            false,
        ),
        (far.clone(), vec![good("far"), permits()], resolved, true),
        (far, vec![permits()], invalid, false),
    ] {
        let mut objects = objects;
        objects.push(gateway("demo", "edge", https("a", references.clone())));
        let (gateway, certificates, words) = made(&world(&objects));
        assert_eq!(word(&words, "ResolvedRefs"), expected, "{references}");
        assert_eq!(word(&words, "Programmed").0, told, "{references}");
        assert_eq!(word(&words, "Accepted"), (true, "Accepted"));
        assert_eq!(word(&words, "Conflicted"), (false, "NoConflicts"));
        let listener = &gateway.listeners[0];
        assert_eq!(listener.unresolved.is_empty(), told, "{references}");
        assert_eq!(listener.certificates, certificates);
        assert_eq!(certificates.len(), usize::from(told));
    }
}

#[test]
fn the_last_good_certificate_stays_in_force() {
    let listeners = https("a", json!([{"name": "cert"}]));
    let mut world = world(&[good("demo"), gateway("demo", "edge", listeners)]);
    world.put(&object(&secret("demo", "cert", ("x", "y"))));
    let (gateway, certificates, words) = made(&world);
    assert_eq!(certificates, ["Secret/demo/cert"]);
    assert_eq!(gateway.listeners[0].unresolved, "");
    assert_eq!(
        word(&words, "ResolvedRefs"),
        (false, "InvalidCertificateRef")
    );
    assert!(word(&words, "Programmed").0);
}

#[test]
fn one_that_conflicts_is_told_to_nobody() {
    let mut listeners = https("a", json!([{"name": "cert"}]));
    let all = listeners.as_array_mut().unwrap();
    all.push(json!({"name": "b", "port": 443, "protocol": "TCP"}));
    all.push(json!({"name": "c", "port": 80, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "X"}]}}));
    let (gateway, certificates, words) =
        made(&world(&[good("demo"), gateway("demo", "edge", listeners)]));
    assert_eq!(certificates, Vec::<String>::new());
    let names: Vec<_> = gateway.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["c"]);
    for condition in ["Accepted", "Programmed"] {
        assert_eq!(word(&words, condition), (false, "ProtocolConflict"));
    }
    assert_eq!(word(&words, "Conflicted"), (true, "ProtocolConflict"));
    let of_c = &words[8..];
    assert_eq!(word(of_c, "ResolvedRefs"), (false, "InvalidRouteKinds"));
    assert_eq!(word(of_c, "Programmed"), (false, "Invalid"));
}

#[test]
fn policies_for_it_are_named() {
    let target = |name: &str| {
        let group = "gateway.networking.k8s.io";
        json!({"targetRefs": [{"group": group, "kind": "Gateway", "name": name}]})
    };
    let world = world(&[
        gateway(
            "demo",
            "edge",
            json!([{"name": "a", "port": 80, "protocol": "HTTP"}]),
        ),
        culvert("AuthorizationPolicy", "demo", "p", target("edge")),
        culvert("AuthorizationPolicy", "demo", "q", target("other")),
    ]);
    assert_eq!(made(&world).0.authorizations, ["demo/p"]);
    let policy = world.cache.authorization_policies.iter().next().unwrap();
    let (resource, findings) = crate::translate::authorization::of(&world, policy);
    assert_eq!((&*resource.unwrap().name, findings), ("demo/p", Vec::new()));
}

#[test]
fn a_key_is_in_no_text() {
    let (chain, key) = &pairs()[0];
    let message = wire::Certificate {
        chain: chain.clone(),
        key: key.clone(),
    };
    let resource = Resource {
        name: "Secret/demo/cert".into(),
        aliases: Vec::new(),
        message: Message::Certificate(message.into()),
    };
    let text = format!("{resource:?}");
    let served = crate::engine::Served::new(resource);
    let line = key.lines().nth(1).unwrap();
    assert!(!text.contains(line) && !format!("{served:?}").contains("BEGIN"));
    // It is what goes out all the same.
    let sent = String::from_utf8_lossy(&served.field);
    assert!(sent.contains(line));
}
