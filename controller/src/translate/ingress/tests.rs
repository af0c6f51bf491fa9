//! Certificates go to whom they are permitted to, and a listener says what is wrong with it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::testing::{
    config_map, culvert, gateway, grant, listener_set, object, pairs, secret, world,
};
use crate::translate::listener::ListenerWord;
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
    let (made, _) = of(world, object);
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
    let state = state(world, object, &BTreeMap::new());
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

#[test]
fn what_is_for_backends_is_told_or_why_there_is_none() {
    let edge = |reference: Value| {
        let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        let mut edge = gateway("demo", "edge", listeners);
        edge["spec"]["tls"] = json!({"backend": {"clientCertificateRef": reference}});
        edge
    };
    let opaque = json!({"name": "cert", "group": "x.io"});
    let strange = json!({"name": "cert", "kind": "ConfigMap"});
    let (own, far) = (
        json!({"name": "cert"}),
        json!({"name": "cert", "namespace": "far"}),
    );
    let bad = secret("demo", "cert", ("x", "y"));
    let permits = grant("far", ("Gateway", "demo"), "Secret");
    let invalid = Some("InvalidClientCertificateRef");
    for (objects, name, reason) in [
        (
            vec![edge(own.clone()), good("demo")],
            "Secret/demo/cert",
            None,
        ),
        (vec![edge(own.clone())], "", invalid),
        (vec![edge(own.clone()), bad.clone()], "", invalid),
        (vec![edge(opaque), good("demo")], "", invalid),
        (vec![edge(strange), good("demo")], "", invalid),
        (
            vec![edge(far.clone()), good("far")],
            "",
            Some("RefNotPermitted"),
        ),
        (
            vec![edge(far), good("far"), permits],
            "Secret/far/cert",
            None,
        ),
        // The last good one stays in force.
        (
            vec![edge(own), good("demo"), bad],
            "Secret/demo/cert",
            invalid,
        ),
    ] {
        let world = world(&objects);
        let (told, certificates, words) = made(&world);
        assert_eq!(told.client_certificate, name, "{objects:?}");
        assert_eq!(
            told.client_certificate_unresolved.is_empty(),
            !name.is_empty()
        );
        let expected: Vec<_> = Some(name)
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(certificates, expected);
        assert_eq!(word(&words, "ResolvedRefs"), (true, "ResolvedRefs"));
        let edge = world.cache.gateways.get(&NsName::new("demo", "edge"));
        let state = state(&world, edge.unwrap(), &BTreeMap::new());
        assert_eq!(state.client_certificate.map(|(reason, _)| reason), reason);
    }
}

#[test]
fn a_sets_certificate_is_permitted_to_the_set_and_not_to_its_gateway() {
    let own = || json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let mut edge = gateway("demo", "edge", own());
    edge["spec"]["allowedListeners"] = json!({"namespaces": {"from": "All"}});
    let far = json!([{"name": "cert", "namespace": "far"}]);
    let set = |namespace: &str, references: &Value| {
        listener_set(
            namespace,
            "s",
            ("demo", "edge"),
            https("a", references.clone()),
        )
    };
    let gateways = || grant("far", ("Gateway", "demo"), "Secret");
    let sets = || grant("far", ("ListenerSet", "demo"), "Secret");
    let bare = json!([{"name": "cert"}]);
    for (set, grants, told) in [
        (set("far", &bare), vec![], true),
        (set("demo", &far), vec![], false),
        (set("demo", &far), vec![gateways()], false),
        (set("demo", &far), vec![sets()], true),
        // The Gateway's namespace has none of that name.
        (set("demo", &bare), vec![], false),
    ] {
        let name = set["metadata"]["namespace"].clone();
        let mut objects = vec![edge.clone(), good("far"), set];
        objects.extend(grants);
        let world = world(&objects);
        let (gateway, certificates, words) = made(&world);
        // What is wrong with a set is not said of the Gateway.
        assert_eq!(words.len(), 4);
        let listener = &gateway.listeners[1];
        assert_eq!(listener.name, format!("{}/s/a", name.as_str().unwrap()));
        assert_eq!(certificates.len(), usize::from(told));
        assert_eq!(listener.unresolved.is_empty(), told);
        let object = world.cache.gateways.get(&NsName::new("demo", "edge"));
        let state = state(&world, object.unwrap(), &BTreeMap::new());
        assert_eq!(state.attached_sets(), usize::from(told));
        assert_eq!(state.set_ports.into_iter().collect::<Vec<_>>(), [443]);
    }
}

/// `demo/edge` with HTTP and two of HTTPS, that asks clients for certificates.
fn asking(frontend: Value) -> Value {
    let tls = json!({"certificateRefs": [{"name": "cert"}]});
    let listeners = json!([
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "a", "port": 443, "protocol": "HTTPS", "tls": tls},
        {"name": "b", "port": 8443, "protocol": "HTTPS", "tls": tls},
    ]);
    let mut edge = gateway("demo", "edge", listeners);
    edge["spec"]["tls"] = json!({ "frontend": frontend });
    edge
}

fn by(references: Value) -> Value {
    json!({"validation": {"caCertificateRefs": references}})
}

#[test]
fn what_clients_have_to_show_goes_by_port() {
    let [(one, _), (other, _)] = pairs();
    let ca = |name: &str| json!([{"group": "", "kind": "ConfigMap", "name": name}]);
    let mut fallback = by(ca("other"));
    fallback["validation"]["mode"] = "AllowInsecureFallback".into();
    let objects = |frontend: Value| {
        vec![
            good("demo"),
            config_map("demo", "one", one),
            config_map("demo", "other", other),
            asking(frontend),
        ]
    };
    let per_port = json!([{"port": 8443, "tls": fallback}]);
    let frontend = json!({"default": by(ca("one")), "perPort": per_port});
    let (gateway, _, words) = made(&world(&objects(frontend)));
    assert!(
        words
            .iter()
            .all(|word| word.status != (word.condition == "Conflicted"))
    );
    let asked: Vec<_> = gateway
        .listeners
        .iter()
        .map(|l| l.client_validation)
        .collect();
    assert_eq!(asked, [0, 1, 2]);
    let [default, of_port] = &gateway.client_validations[..] else {
        panic!()
    };
    assert_eq!(
        (&default.authorities, default.allow_insecure_fallback),
        (one, false)
    );
    assert_eq!(
        (&of_port.authorities, of_port.allow_insecure_fallback),
        (other, true)
    );
    // A version that does not know of it refuses.
    assert_eq!(gateway.listeners[0].unresolved, "");
    assert_ne!(gateway.listeners[1].unresolved, "");
    // A port of its own without validation asks for nothing.
    let frontend = json!({"default": by(ca("one")), "perPort": [{"port": 8443, "tls": {}}]});
    let (gateway, ..) = made(&world(&objects(frontend)));
    let asked: Vec<_> = gateway
        .listeners
        .iter()
        .map(|l| l.client_validation)
        .collect();
    assert_eq!(asked, [0, 1, 0]);
}

#[test]
fn without_an_authority_no_handshake_comes_about() {
    let of = |kind: &str, namespace: &str| json!([{"group": "", "kind": kind, "name": "ca", "namespace": namespace}]);
    let certificate = &pairs()[0].0;
    for (references, reason) in [
        (of("ConfigMap", "demo"), "InvalidCACertificateRef"),
        (of("Service", "demo"), "InvalidCACertificateKind"),
        (of("ConfigMap", "far"), "RefNotPermitted"),
    ] {
        let far = config_map("far", "ca", certificate);
        let frontend = json!({"default": by(references)});
        let (gateway, _, words) = made(&world(&[good("demo"), far, asking(frontend)]));
        // Plain text is not concerned.
        assert_eq!(word(&words[..4], "Programmed"), (true, "Programmed"));
        for of_listener in [&words[4..8], &words[8..]] {
            assert_eq!(word(of_listener, "ResolvedRefs"), (false, reason));
            assert_eq!(
                word(of_listener, "Accepted"),
                (false, "NoValidCACertificate")
            );
            assert_eq!(word(of_listener, "Programmed"), (false, "Invalid"));
        }
        for listener in &gateway.listeners[1..] {
            // Its hosts are refused, and nobody else gets them.
            assert_ne!(listener.unresolved, "");
            assert_eq!(listener.client_validation, 0);
        }
        assert_eq!(gateway.client_validations, []);
    }
    // One of several is enough, and what is wrong is said.
    let mut references = of("ConfigMap", "demo");
    let more = json!({"group": "", "kind": "ConfigMap", "name": "gone"});
    references.as_array_mut().unwrap().push(more);
    let ca = config_map("demo", "ca", certificate);
    let frontend = json!({"default": by(references)});
    let (gateway, _, words) = made(&world(&[good("demo"), ca, asking(frontend)]));
    assert_eq!(
        word(&words[4..8], "ResolvedRefs"),
        (false, "InvalidCACertificateRef")
    );
    assert_eq!(word(&words[4..8], "Programmed"), (true, "Programmed"));
    assert_eq!(gateway.listeners[1].client_validation, 1);
}
