//! Policies that block the mesh, and the like that do not.

use serde_json::{Value, json};

use super::check;
use crate::check::facts::Facts;
use crate::check::testing::{facts, found, object, pod};

fn with(spec: &[Value]) -> Facts {
    let mut facts = facts();
    facts.pods = vec![
        pod("meshed", "web", &[("app", "web")]),
        pod("meshed", "client", &[("app", "client")]),
        pod("meshed", "other", &[("app", "other")]),
        pod("plain", "scraper", &[("app", "scraper")]),
    ];
    let policy = |(n, spec): (usize, &Value)| {
        object(json!({"metadata": {"namespace": "meshed", "name": format!("p{n}")}, "spec": spec}))
    };
    facts.network_policies = spec.iter().enumerate().map(policy).collect();
    facts
}

fn web(ingress: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": ingress})
}

fn app(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": name}}})
}

const INGRESS: &str = "error network-policy-ingress NetworkPolicy meshed/p0";
const EGRESS: &str = "error network-policy-egress NetworkPolicy meshed/p0";

#[test]
fn whoever_may_connect_to_some_port_must_be_let_through_to_15008() {
    let port = |port: Value| json!({"port": port});
    let scraper =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "plain"}}});
    for (ingress, blocked) in [
        (json!([{"ports": [port(json!(8080))]}]), true),
        (
            json!([{"from": [app("client")], "ports": [port(json!(8080))]}]),
            true,
        ),
        (
            json!([{"from": [app("later")], "ports": [port(json!(8080))]}]),
            true,
        ),
        (
            json!([{"from": [app("client")], "ports": [port(json!("http"))]}]),
            true,
        ),
        (
            json!([{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [port(json!(8080))]}]),
            false,
        ),
        // Somebody who is not in the mesh comes as before.
        (
            json!([{"from": [scraper], "ports": [port(json!(9090))]}]),
            false,
        ),
        (
            json!([{"from": [app("client")], "ports": [port(json!(8080)), port(json!(15008))]}]),
            false,
        ),
        (
            json!([{"ports": [{"port": 8000, "endPort": 16000}]}]),
            false,
        ),
        (
            json!([{"ports": [{"port": 8080}, {"protocol": "UDP", "port": 15008}]}]),
            true,
        ),
        (
            json!([{"ports": [{"protocol": "UDP", "port": 8080}]}]),
            false,
        ),
        (json!([{"from": [app("client")]}]), false),
        // Nobody may connect at all: with the mesh as without.
        (json!([]), false),
    ] {
        let expected: Vec<&str> = if blocked { vec![INGRESS] } else { vec![] };
        assert_eq!(
            found(&with(&[web(&ingress)]), None, check),
            expected,
            "{ingress}"
        );
    }
}

#[test]
fn another_policy_may_let_the_same_clients_through() {
    let narrow = web(&json!([{"from": [app("client")], "ports": [{"port": 8080}]}]));
    let hbone = |from: Value| json!({"podSelector": {}, "ingress": [{"from": from, "ports": [{"port": 15008}]}]});
    for (second, blocked) in [
        (
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 15008}]}]}),
            false,
        ),
        (hbone(json!([app("client")])), false),
        (hbone(json!([{"podSelector": {}}])), false),
        (hbone(json!([app("other")])), true),
        (
            hbone(
                json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "plain"}}}]),
            ),
            true,
        ),
    ] {
        let expected: Vec<&str> = if blocked { vec![INGRESS] } else { vec![] };
        assert_eq!(
            found(&with(&[narrow.clone(), second.clone()]), None, check),
            expected,
            "{second}"
        );
    }
}

#[test]
fn what_a_pod_may_connect_to_counts_as_well() {
    let egress = |egress: Value| json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": egress});
    for (rules, blocked) in [
        (
            json!([{"to": [app("web")], "ports": [{"port": 8080}]}]),
            true,
        ),
        (
            json!([{"to": [app("web")], "ports": [{"port": 8080}, {"port": 15008}]}]),
            false,
        ),
        (
            json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}]),
            false,
        ),
        (
            json!([{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}]),
            false,
        ),
    ] {
        let expected: Vec<&str> = if blocked { vec![EGRESS] } else { vec![] };
        assert_eq!(
            found(&with(&[egress(rules.clone())]), None, check),
            expected,
            "{rules}"
        );
    }
}

#[test]
fn a_namespace_outside_the_mesh_is_looked_at_when_it_is_to_join() {
    let mut facts = with(&[]);
    facts.network_policies = vec![object(
        json!({"metadata": {"namespace": "plain", "name": "p"},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}}),
    )];
    assert_eq!(found(&facts, None, check), Vec::<String>::new());
    let expected = ["error network-policy-ingress NetworkPolicy plain/p"];
    assert_eq!(found(&facts, Some("plain"), check), expected);
    assert_eq!(found(&facts, Some("meshed"), check), Vec::<String>::new());
}
