//! What is wrong with listeners by themselves and beside each other.

use serde_json::{Value, json};

use crate::admit::admit;
use crate::model::{Kind, Listener, NsName, Object};
use crate::testing::{gateway, listener_set};

fn listeners(written: Value) -> Vec<Listener> {
    match admit(&gateway("demo", "edge", written)) {
        Ok(Object::Gateway(gateway)) => gateway.spec.listeners.clone().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn listener(name: &str, protocol: &str, port: u16, hostname: Option<&str>) -> Value {
    json!({"name": name, "protocol": protocol, "port": port, "hostname": hostname})
}

/// The reasons of those that are refused.
fn reasons(written: Value) -> Vec<(String, &'static str, bool)> {
    let all = listeners(written).into_iter();
    let refused = all.filter_map(|l| {
        let refused = l.refused?;
        Some((l.name, refused.reason, refused.conflict))
    });
    refused.collect()
}

#[test]
fn of_those_that_conflict_none_is_served_and_the_others_are() {
    let x = Some("x.org");
    let protocol = |name: &str| (name.to_owned(), "ProtocolConflict", true);
    let hostname = |name: &str| (name.to_owned(), "HostnameConflict", true);
    let apart = json!([
        listener("a", "HTTP", 80, x),
        listener("b", "HTTP", 80, None),
        listener("c", "HTTP", 81, x),
        listener("d", "HTTPS", 443, x),
        listener("e", "TLS", 443, Some("*.org")),
        listener("f", "TCP", 9000, None),
    ]);
    assert_eq!(reasons(apart), []);
    let hosts = json!([
        listener("a", "HTTP", 80, x),
        listener("b", "HTTP", 80, x),
        listener("c", "HTTP", 80, None),
        listener("d", "HTTPS", 443, None),
        listener("e", "TLS", 443, None),
    ]);
    assert_eq!(reasons(hosts), ["a", "b", "d", "e"].map(hostname));
    let protocols = json!([
        listener("a", "HTTP", 80, x),
        listener("b", "HTTPS", 80, None),
        listener("c", "TCP", 443, None),
        listener("d", "TLS", 443, x),
        listener("e", "TCP", 9000, None),
        listener("f", "TCP", 9000, None),
        listener("g", "HTTP", 81, None),
    ]);
    assert_eq!(
        reasons(protocols),
        ["a", "b", "c", "d", "e", "f"].map(protocol)
    );
}

#[test]
fn what_cannot_be_served_is_refused_and_in_nobodys_way() {
    let mut https = listener("b", "HTTPS", 443, None);
    https["tls"] = json!({"mode": "Passthrough"});
    let written = json!([
        listener("a", "UDP", 80, None),
        https,
        listener("c", "HTTP", 15021, None),
        listener("d", "HTTP", 80, None),
        listener("e", "TLS", 443, None),
    ]);
    let refused = |name: &str, reason| (name.to_owned(), reason, false);
    assert_eq!(
        reasons(written),
        [
            refused("a", "UnsupportedProtocol"),
            refused("b", "UnsupportedValue"),
            refused("c", "PortUnavailable"),
        ]
    );
}

#[test]
fn kinds_are_those_of_the_protocol_that_are_named() {
    let of = |protocol: &str, kinds: Value| {
        let mut written = listener("a", protocol, 80, None);
        written["allowedRoutes"] = json!({ "kinds": kinds });
        let made = listeners(json!([written])).swap_remove(0);
        (made.kinds, made.strange_kinds.len())
    };
    let http = vec![Kind::HttpRoute, Kind::GrpcRoute];
    assert_eq!(of("HTTP", json!([])), (http.clone(), 0));
    assert_eq!(of("HTTPS", json!([])), (http, 0));
    assert_eq!(of("TLS", json!([])), (vec![Kind::TlsRoute], 0));
    assert_eq!(of("TCP", json!([])), (vec![Kind::TcpRoute], 0));
    let named = json!([{"kind": "HTTPRoute"}, {"kind": "TLSRoute"}, {"kind": "Other"},
        {"group": "x", "kind": "GRPCRoute"}, {"kind": "HTTPRoute"}]);
    assert_eq!(of("HTTP", named), (vec![Kind::HttpRoute], 3));
}

#[test]
fn what_is_malformed_names_its_field() {
    for (written, field) in [
        (json!([]), "spec.listeners"),
        (
            json!([
                listener("a", "HTTP", 80, None),
                listener("a", "HTTP", 81, None)
            ]),
            "spec.listeners[1].name",
        ),
        (
            json!([listener("a", "HTTP", 80, Some("A_b"))]),
            "spec.listeners[0].hostname",
        ),
        (
            json!([listener("a", "TCP", 80, Some("x.org"))]),
            "spec.listeners[0].hostname",
        ),
        (
            json!([{"name": "a", "port": 80, "protocol": "HTTP", "tls": {}}]),
            "spec.listeners[0].tls",
        ),
        (
            json!([{"name": "a", "port": 80, "protocol": "TLS", "tls": {"certificateRefs": [{"name": "A"}]}}]),
            "spec.listeners[0].tls.certificateRefs[0].name",
        ),
    ] {
        let refusal = admit(&gateway("demo", "edge", written)).unwrap_err();
        assert_eq!(refusal.issues[0].field.to_string(), field);
    }
}

#[test]
fn what_is_asked_of_clients_is_well_formed() {
    let of = |frontend: Value| {
        let mut written = gateway("demo", "edge", json!([listener("a", "HTTPS", 443, None)]));
        written["spec"]["tls"] = json!({ "frontend": frontend });
        match admit(&written) {
            Ok(Object::Gateway(gateway)) => Ok(gateway.spec.frontend.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.issues[0].field.to_string()),
        }
    };
    let validation = |reference: Value| json!({"validation": {"caCertificateRefs": [reference]}});
    let good = || validation(json!({"name": "ca", "kind": "ConfigMap", "group": ""}));
    let asked = of(json!({"default": good(), "perPort": [{"port": 8443, "tls": {}}]})).unwrap();
    assert!(asked.at(443).is_some() && asked.at(8443).is_none());
    assert!(!asked.at(443).unwrap().fallback);
    let mut odd = good();
    odd["validation"]["mode"] = "Whatever".into();
    for (frontend, field) in [
        (
            json!({"default": {"validation": {}}}),
            "spec.tls.frontend.default.validation",
        ),
        (
            json!({"default": odd}),
            "spec.tls.frontend.default.validation.mode",
        ),
        (
            json!({"default": {"validation": {"caCertificateRefs": []}}}),
            "spec.tls.frontend.default.validation.caCertificateRefs",
        ),
        (
            json!({"default": validation(json!({"name": "A"}))}),
            "spec.tls.frontend.default.validation.caCertificateRefs[0].name",
        ),
        (
            json!({"default": {}, "perPort": [{"port": 1, "tls": {}}, {"port": 1, "tls": good()}]}),
            "spec.tls.frontend.perPort[1].port",
        ),
    ] {
        assert_eq!(of(frontend), Err(field.to_owned()));
    }
}

#[test]
fn a_set_names_its_gateway_and_what_is_wrong_with_its_listeners() {
    let set = |parent: Value, listeners: Value| {
        let mut written = listener_set("team", "set", ("demo", "edge"), listeners);
        written["spec"]["parentRef"] = parent;
        match admit(&written) {
            Ok(Object::ListenerSet(set)) => Ok(set.spec.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.issues[0].field.to_string()),
        }
    };
    let good = || {
        json!([
            listener("a", "HTTP", 80, None),
            listener("b", "HTTP", 80, None)
        ])
    };
    let own = set(json!({"name": "edge"}), good()).unwrap();
    assert_eq!(own.gateway, Some(NsName::new("team", "edge")));
    // Whether they conflict depends on the Gateway.
    assert!(
        own.listeners
            .iter()
            .all(|listener| listener.refused.is_none())
    );
    assert_eq!(own.listeners[0].full_name(), "team/set/a");
    let other = json!({"name": "x", "kind": "Other", "group": "example.com"});
    assert_eq!(set(other, good()).unwrap().gateway, None);
    let edge = || json!({"name": "edge"});
    for (parent, listeners, field) in [
        (edge(), json!([]), "spec.listeners"),
        (json!({"name": "A"}), good(), "spec.parentRef.name"),
        (
            edge(),
            json!([listener("a", "HTTP", 80, Some("A_b"))]),
            "spec.listeners[0].hostname",
        ),
        (
            edge(),
            json!([
                listener("a", "HTTP", 80, None),
                listener("a", "HTTP", 81, None)
            ]),
            "spec.listeners[1].name",
        ),
    ] {
        assert_eq!(set(parent, listeners), Err(field.to_owned()));
    }
}
