//! Who has which port and host.

use serde_json::{Value, json};

use super::*;
use crate::testing::{gateway, listener_set, namespace, world};

fn listener(name: &str, protocol: &str, port: u16, host: &str) -> Value {
    let host = Some(host).filter(|host| !host.is_empty());
    json!({"name": name, "protocol": protocol, "port": port, "hostname": host})
}

fn edge(listeners: Value, from: &str) -> Value {
    let mut edge = gateway("demo", "edge", listeners);
    edge["spec"]["allowedListeners"] = json!({"namespaces": {"from": from}});
    edge
}

fn set(namespace: &str, name: &str, created: u32, listeners: Value) -> Value {
    let mut set = listener_set(namespace, name, ("demo", "edge"), listeners);
    let created = format!("2026-01-01T00:00:{created:02}Z");
    set["metadata"]["creationTimestamp"] = created.into();
    set
}

/// All listeners by their full names, with why those are not served that are not.
fn judged(objects: &[Value]) -> Vec<(String, Option<&'static str>)> {
    let world = world(objects);
    let listeners = world.listeners(&NsName::new("demo", "edge")).unwrap();
    let reason = |listener: &Listener| listener.refused.as_ref().map(|refused| refused.reason);
    let all = listeners.iter();
    all.map(|listener| (listener.full_name(), reason(listener)))
        .collect()
}

fn served(name: &str) -> (String, Option<&'static str>) {
    (name.to_owned(), None)
}

#[test]
fn the_gateways_own_come_first_then_sets_by_age_then_by_name() {
    let host = Some("HostnameConflict");
    let one = || json!([listener("l", "HTTP", 80, "x.org")]);
    let two = || json!([listener("l", "HTTP", 80, "y.org")]);
    let objects = [
        set("b", "young", 9, two()),
        set("a", "set", 5, two()),
        // As text this is before a/set.
        set("a-b", "set", 5, two()),
        set("z", "taken", 1, one()),
        edge(one(), "All"),
    ];
    let lost = |name: &str| (name.to_owned(), host);
    assert_eq!(
        judged(&objects),
        [
            served("l"),
            lost("z/taken/l"),
            served("a-b/set/l"),
            lost("a/set/l"),
            lost("b/young/l"),
        ]
    );
}

#[test]
fn who_loses_takes_nothing_and_what_cannot_be_served_is_nobody_elses() {
    let (protocol, host) = (Some("ProtocolConflict"), Some("HostnameConflict"));
    let mut wrong = listener("wrong", "HTTPS", 443, "pay.x.org");
    wrong["tls"] = json!({"mode": "Passthrough"});
    let own = json!([
        listener("a", "HTTP", 80, "x.org"),
        listener("b", "TCP", 81, ""),
        listener("c", "HTTP", 81, ""),
        wrong,
        listener("udp", "UDP", 53, ""),
    ]);
    let first = json!([
        // Lost to the Gateway, so it is not in the way of the next one.
        listener("tcp", "TCP", 80, ""),
        listener("y", "HTTP", 80, "y.org"),
        // Two of one set: neither.
        listener("twice", "HTTP", 82, ""),
        listener("again", "HTTP", 82, ""),
    ]);
    let second = json!([
        listener("y", "HTTP", 80, "y.org"),
        listener("z", "HTTP", 80, "z.org"),
        listener("port", "TCP", 81, ""),
        listener("pay", "HTTPS", 443, "pay.x.org"),
        listener("third", "HTTP", 82, ""),
        listener("free", "TCP", 53, ""),
    ]);
    let judged = judged(&[
        edge(own, "All"),
        set("a", "s", 1, first),
        set("b", "s", 2, second),
    ]);
    let reasons: Vec<_> = judged.iter().map(|(_, reason)| *reason).collect();
    let unsupported = Some("UnsupportedValue");
    assert_eq!(
        reasons,
        [
            // The Gateway's own.
            None,
            protocol,
            protocol,
            unsupported,
            Some("UnsupportedProtocol"),
            // The older set's.
            protocol,
            None,
            host,
            host,
            // The younger one's.
            host,
            None,
            protocol,
            host,
            host,
            None,
        ],
        "{judged:?}"
    );
}

#[test]
fn only_sets_that_the_gateway_allows_add_anything() {
    let own = || json!([listener("a", "HTTP", 80, "x.org")]);
    let sets = [
        set("demo", "s", 1, json!([listener("a", "HTTP", 80, "y.org")])),
        set("far", "s", 2, json!([listener("a", "HTTP", 80, "z.org")])),
        namespace("far", json!({"team": "a"})),
    ];
    let count = |edge: Value| {
        let mut objects = sets.to_vec();
        objects.push(edge);
        judged(&objects).len() - 1
    };
    for (from, expected) in [("None", 0), ("Same", 1), ("All", 2)] {
        assert_eq!(count(edge(own(), from)), expected, "{from}");
    }
    assert_eq!(count(gateway("demo", "edge", own())), 0, "none by default");
    for (team, expected) in [("a", 1), ("b", 0)] {
        let mut edge = edge(own(), "Selector");
        let selector = json!({"matchLabels": {"team": team}});
        edge["spec"]["allowedListeners"]["namespaces"]["selector"] = selector;
        assert_eq!(count(edge), expected, "{team}");
    }
}

#[test]
fn nobody_opens_ports_without_end() {
    let ports = |from: u16| -> Value {
        let all = (from..from + 60).map(|port| listener(&format!("p{port}"), "TCP", port, ""));
        all.collect()
    };
    let judged = judged(&[
        edge(json!([listener("a", "HTTP", 80, "")]), "All"),
        set("a", "s", 1, ports(1000)),
        set("b", "s", 2, ports(2000)),
    ]);
    let refused = judged
        .iter()
        .filter(|(_, reason)| *reason == Some("TooManyListeners"));
    assert_eq!(refused.count(), 21);
    let served = judged.iter().filter(|(_, reason)| reason.is_none());
    assert_eq!(served.count(), 100);
}
