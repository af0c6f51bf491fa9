//! What is wrong with listeners by themselves and beside each other.

use serde_json::{Value, json};

use crate::admit::admit;
use crate::model::{Kind, Listener, Object};
use crate::testing::gateway;

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
    let mut verifying = gateway("demo", "edge", json!([listener("a", "HTTPS", 443, None)]));
    verifying["spec"]["tls"] = json!({"frontend": {"default": {"validation": {}}}});
    let Ok(Object::Gateway(verifying)) = admit(&verifying) else {
        panic!()
    };
    let listeners = verifying.spec.listeners.as_ref().unwrap();
    assert_eq!(
        listeners[0].refused.as_ref().unwrap().reason,
        "UnsupportedValue"
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
