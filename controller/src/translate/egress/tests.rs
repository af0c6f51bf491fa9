//! Which policies hold for a pod, what they become, and what is said of those that hold for nobody.

use serde_json::{Value, json};

use super::*;
use crate::model::NsName;
use crate::testing::{culvert, namespace, pod_value, world};

fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    culvert("EgressPolicy", namespace, name, spec)
}

fn ambient(name: &str) -> Value {
    namespace(name, json!({"culvert.dev/dataplane-mode": "ambient"}))
}

fn made(objects: &[Value]) -> (EgressPolicy, Vec<Finding>) {
    let world = world(objects);
    let policy = world.cache.egress_policies.iter().next().unwrap();
    let (resource, findings) = of(&world, policy);
    match resource.unwrap().message {
        Message::EgressPolicy(record) => (record, findings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn those_of_the_namespace_and_of_the_root_hold_that_select_a_pod() {
    let app = |app: &str| json!({"selector": {"matchLabels": {"app": app}}});
    let world = world(&[
        ambient("demo"),
        pod_value("demo", "a", "10.0.0.1"),
        policy("demo", "all", json!({})),
        policy("demo", "a", app("a")),
        policy("demo", "b", app("b")),
        policy("other", "all", json!({})),
        policy("culvert-system", "all", json!({})),
        policy("culvert-system", "a", app("a")),
        policy("culvert-system", "b", app("b")),
    ]);
    let pod = world.cache.pods.get(&NsName::new("demo", "a")).unwrap();
    let expected = [
        "culvert-system/a",
        "culvert-system/all",
        "demo/a",
        "demo/all",
    ];
    assert_eq!(policies_of(&world, pod), expected);
}

#[test]
fn fields_become_fields() {
    let spec = json!({"egress": [{
        "to": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.7"]}, {"host": "*.example.com"}],
        "ports": [{"port": 443}, {"port": "8000", "endPort": 8010}]}]});
    let (record, findings) = made(&[policy("demo", "p", spec)]);
    assert_eq!(
        (record.namespace.as_str(), record.name.as_str()),
        ("demo", "p")
    );
    let [rule] = record.rules.as_slice() else {
        panic!("{record:?}")
    };
    let block = EgressBlock {
        cidr: "192.0.2.0/24".into(),
        except: vec!["192.0.2.7/32".into()],
    };
    let peers: Vec<_> = rule.to.iter().map(|to| to.peer.clone().unwrap()).collect();
    assert_eq!(
        peers,
        [Peer::Block(block), Peer::Host("*.example.com".into())]
    );
    let ports: Vec<_> = rule.ports.iter().map(|p| (p.first, p.last)).collect();
    assert_eq!(ports, [(443, 443), (8000, 8010)]);
    assert_eq!(findings, []);
    assert_eq!(made(&[policy("demo", "p", json!({}))]).0.rules, []);
}

#[test]
fn what_does_nothing_is_said() {
    let reasons = |objects: &[Value]| {
        let found = made(objects).1;
        found
            .iter()
            .map(|f| format!("{} {}: {}", f.reason, f.field, f.message))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let spec =
        json!({"egress": [{"to": [{"cidr": "192.0.2.0/24", "except": ["198.51.100.0/24"]}]}]});
    assert_eq!(
        reasons(&[policy("demo", "p", spec)]),
        "NoEffect spec.egress[0].to[0].except[0]: 198.51.100.0/24 is no part of 192.0.2.0/24, so it excepts nothing"
    );
    let pods = || ["a", "b", "c", "d"].map(|name| pod_value("demo", name, "10.0.0.1"));
    let with = |first: Value| [vec![first, policy("demo", "p", json!({}))], pods().into()].concat();
    assert_eq!(
        reasons(&with(namespace("demo", json!({})))),
        "NotInMesh spec.selector: selects pods that are not in the mesh and reach what they like: a, b, c and 1 more"
    );
    assert_eq!(reasons(&with(ambient("demo"))), "");
    let root = policy("culvert-system", "p", json!({}));
    assert_eq!(
        reasons(&[vec![root], pods().into()].concat()),
        "",
        "it is for everybody"
    );
}
