//! Whose a host is, what is attached where, and what a listener needs to be served.

use culvert_proto::{type_url, waypoint as pb};
use prost::Message as _;

use crate::config::certificate::testing::ecdsa;
use crate::routes::testing::get;
use crate::routes::{RouteStore, Routes};

fn listener(name: &str, port: u32, hostname: &str) -> pb::Listener {
    pb::Listener {
        name: name.into(),
        port,
        protocol: pb::ListenerProtocol::Http.into(),
        hostname: hostname.into(),
        ..Default::default()
    }
}

fn set(store: &mut RouteStore, url: &str, name: &str, resource: &impl prost::Message) {
    store.set(url, name, &resource.encode_to_vec()).unwrap();
}

fn gateway(store: &mut RouteStore, listeners: Vec<pb::Listener>) {
    let raw = pb::Gateway {
        namespace: "n".into(),
        name: "g".into(),
        listeners,
        ..Default::default()
    };
    set(store, type_url::GATEWAY, "Gateway/n/g", &raw);
}

fn at(gateway: &str, listener: &str, hostnames: &[&str]) -> pb::ListenerRef {
    pb::ListenerRef {
        gateway: gateway.into(),
        listener: listener.into(),
        hostnames: hostnames.iter().map(|name| (*name).into()).collect(),
    }
}

/// A route without matches.
fn route(store: &mut RouteStore, name: &str, listeners: Vec<pb::ListenerRef>) {
    let raw = pb::HttpRoute {
        namespace: "n".into(),
        name: name.into(),
        listeners,
        rules: vec![pb::HttpRule::default()],
        // For services; it says nothing here.
        hostnames: vec!["unheard.of".into()],
        ..Default::default()
    };
    set(store, type_url::HTTP_ROUTE, name, &raw);
}

/// The listener of the host at port 80, and the route of its that serves `/`.
fn serves(routes: &Routes, host: &str) -> Option<(String, Option<String>)> {
    let listener = routes.gateway.as_ref()?.listener(80, host)?;
    let found = listener.http.find(host, &get("/"));
    let found = found.map(|found| found.rule.route().to_string());
    Some((listener.config.name.to_string(), found))
}

#[test]
fn a_host_is_the_most_specific_listeners_and_routes_hold_where_they_are_attached() {
    let mut store = RouteStore::default();
    gateway(
        &mut store,
        vec![
            listener("any", 80, ""),
            listener("wild", 80, "*.example"),
            listener("deep", 80, "*.deep.example"),
            listener("exact", 80, "a.deep.example"),
            listener("other", 81, "b.deep.example"),
        ],
    );
    let everywhere = vec![
        at("n/g", "any", &[]),
        at("n/g", "deep", &["b.deep.example"]),
        at("n/g", "unknown", &[]),
        at("n/another", "exact", &[]),
    ];
    route(&mut store, "r", everywhere);
    store.publish();
    let routes = store.shared().load_full();
    let yes = Some("n/r".to_owned());
    for (host, expected) in [
        ("elsewhere", Some(("any", yes.clone()))),
        ("example", Some(("any", yes.clone()))),
        ("", Some(("any", yes.clone()))),
        ("x.example", Some(("wild", None))),
        ("deep.example", Some(("wild", None))),
        ("b.deep.example", Some(("deep", yes))),
        ("c.deep.example", Some(("deep", None))),
        ("a.deep.example", Some(("exact", None))),
    ] {
        let expected = expected.map(|(listener, route)| (listener.to_owned(), route));
        assert_eq!(serves(&routes, host), expected, "{host}");
    }
    let gateway = routes.gateway.as_ref().unwrap();
    assert!(gateway.listener(82, "elsewhere").is_none());
    assert!(gateway.listener(81, "elsewhere").is_none());
}

#[test]
fn one_rule_at_several_listeners_is_one_plan() {
    let mut store = RouteStore::default();
    gateway(
        &mut store,
        vec![listener("a", 80, "a"), listener("b", 80, "b")],
    );
    route(
        &mut store,
        "r",
        vec![at("n/g", "a", &[]), at("n/g", "b", &[])],
    );
    store.publish();
    let routes = store.shared().load_full();
    let plan = |host| {
        let listener = routes.gateway.as_ref().unwrap().listener(80, host).unwrap();
        std::ptr::from_ref(listener.http.find(host, &get("/")).unwrap().rule)
    };
    assert_eq!(plan("a"), plan("b"));
}

#[test]
fn a_listener_without_all_its_certificates_is_not_served() {
    let mut store = RouteStore::default();
    let secured = pb::Listener {
        protocol: pb::ListenerProtocol::Https.into(),
        certificates: vec!["one".into(), "two".into()],
        ..listener("tls", 80, "")
    };
    gateway(&mut store, vec![secured]);
    let unresolved = |store: &mut RouteStore| {
        store.publish();
        let routes = store.shared().load_full();
        let listener = routes.gateway.as_ref().unwrap().listener(80, "").unwrap();
        listener.unresolved().map(str::to_owned)
    };
    let missing = |name| Some(format!("certificate {name} is not known"));
    assert_eq!(unresolved(&mut store), missing("one"));
    for name in ["one", "two"] {
        set(&mut store, type_url::CERTIFICATE, name, &ecdsa(&["a"]));
    }
    assert_eq!(unresolved(&mut store), None);
    let wrong = pb::Certificate::default().encode_to_vec();
    let refused = store.set(type_url::CERTIFICATE, "one", &wrong);
    assert!(refused.is_err());
    assert_eq!(unresolved(&mut store), None, "the last good one serves");
    store.remove(type_url::CERTIFICATE, "two");
    assert_eq!(unresolved(&mut store), missing("two"));
}

#[test]
fn the_oldest_route_of_connections_serves() {
    let mut store = RouteStore::default();
    gateway(&mut store, vec![listener("a", 80, "")]);
    for (name, created, tls, hosts) in [
        ("younger", "2026-01-02", false, &[][..]),
        ("older", "2026-01-01", false, &[]),
        ("b", "2026-01-01", true, &["*.example"]),
        ("a", "2026-01-01", true, &["*.example", "x.example"]),
        ("rest", "2026-01-03", true, &[]),
    ] {
        let raw = pb::StreamRoute {
            namespace: "n".into(),
            name: name.into(),
            created: created.into(),
            tls,
            listeners: vec![at("n/g", "a", hosts)],
            ..Default::default()
        };
        set(&mut store, type_url::STREAM_ROUTE, name, &raw);
    }
    store.publish();
    let routes = store.shared().load_full();
    let listener = routes.gateway.as_ref().unwrap().listener(80, "").unwrap();
    let streams = &listener.streams;
    assert_eq!(&**streams.tcp().unwrap().route(), "TCPRoute/n/older");
    for (name, expected) in [
        ("x.example", "TLSRoute/n/a"),
        ("y.example", "TLSRoute/n/a"),
        ("elsewhere", "TLSRoute/n/rest"),
        ("", "TLSRoute/n/rest"),
    ] {
        assert_eq!(&**streams.tls(name).unwrap().route(), expected, "{name}");
    }
}
