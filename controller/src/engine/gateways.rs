//! What gateways are told, and what is said of their listeners.

use serde_json::{Value, json};

use super::tests::{batch, engine};
use super::*;
use crate::serve::view_names;
use crate::testing::{
    culvert, gateway, grant, namespace, pairs, pod_value, route, secret, service, waypoint,
};
use crate::translate::Type;

fn https(namespace: &str) -> Value {
    json!([{"name": "https", "port": 443, "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"name": "cert", "namespace": namespace}]}}])
}

fn cert(namespace: &str) -> Value {
    let (chain, key) = &pairs()[0];
    secret(namespace, "cert", (chain, key))
}

fn to(parent: &str, backend: &str) -> Value {
    json!({"parentRefs": [{"name": parent}], "rules": [{"backendRefs": [{"name": backend, "port": 80}]}]})
}

fn mesh() -> Vec<Value> {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]);
    vec![
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        pod_value("demo", "b", "10.0.0.2"),
        service("demo", "web", "a", "10.96.0.1"),
        service("demo", "else", "b", "10.96.0.2"),
        cert("demo"),
        cert("far"),
        gateway("demo", "edge", https("demo")),
        gateway("far", "rim", https("far")),
        waypoint("demo", "gate", "10.0.0.9"),
        route("demo", "r", to("edge", "web")),
        culvert(
            "TrafficPolicy",
            "demo",
            "t",
            json!({ "targetRefs": target }),
        ),
    ]
}

fn client(namespace: &str, name: &str) -> Client {
    Client::Waypoint(NsName::new(namespace, name))
}

#[test]
fn a_certificate_is_told_to_whom_it_is_for_and_nobody_else() {
    let mut engine = engine(&mesh());
    let told =
        |engine: &Engine, client: &Client| view_names(&engine.current(), client, Type::Certificate);
    let (edge, rim) = (client("demo", "edge"), client("far", "rim"));
    assert_eq!(told(&engine, &edge), ["Secret/demo/cert"]);
    assert_eq!(told(&engine, &rim), ["Secret/far/cert"]);
    for other in [
        client("demo", "gate"),
        client("demo", "none"),
        Client::Node("n1".into()),
    ] {
        assert_eq!(told(&engine, &other), Vec::<String>::new());
        let gateways = view_names(&engine.current(), &other, Type::Gateway);
        assert_eq!(gateways, Vec::<String>::new());
    }
    let gateways = view_names(&engine.current(), &edge, Type::Gateway);
    assert_eq!(gateways, ["Gateway/demo/edge"]);
    // Naming another namespace's is not enough, and a permission that ends takes it away.
    engine.step(Event::Batch(batch(&[gateway(
        "demo",
        "edge",
        https("far"),
    )])));
    assert_eq!(told(&engine, &edge), Vec::<String>::new());
    let permit = grant("far", ("Gateway", "demo"), "Secret");
    engine.step(Event::Batch(batch(std::slice::from_ref(&permit))));
    assert_eq!(told(&engine, &edge), ["Secret/far/cert"]);
    let key = crate::testing::object(&permit).key();
    let changes = vec![Change::Remove(key)];
    engine.step(Event::Batch(Batch {
        changes,
        ..Batch::default()
    }));
    assert_eq!(told(&engine, &edge), Vec::<String>::new());
    assert_eq!(told(&engine, &rim), ["Secret/far/cert"]);
}

#[test]
fn a_gateway_is_told_what_its_routes_lead_to_and_no_more() {
    let engine = engine(&mesh());
    let edge = client("demo", "edge");
    let told = |kind| view_names(&engine.current(), &edge, kind);
    assert_eq!(told(Type::HttpRoute), ["HTTPRoute/demo/r"]);
    assert_eq!(told(Type::TrafficPolicy), ["TrafficPolicy/demo/t"]);
    let addresses = told(Type::Address);
    assert!(addresses.contains(&"Kubernetes//Pod/demo/a".to_owned()));
    assert!(addresses.contains(&"demo/web.demo.svc.cluster.local".to_owned()));
    let other = |name: &String| name.contains("else") || name.contains("Pod/demo/b");
    assert!(!addresses.iter().any(other), "{addresses:?}");
    let rim = view_names(&engine.current(), &client("far", "rim"), Type::HttpRoute);
    assert_eq!(rim, Vec::<String>::new());
}

#[test]
fn the_way_to_a_service_is_that_of_its_waypoint() {
    let mut objects = mesh();
    let mut web = service("demo", "web", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let mut engine = engine(&objects);
    let told =
        |engine: &Engine| view_names(&engine.current(), &client("demo", "edge"), Type::Address);
    let gate = "Kubernetes/gateway.networking.k8s.io/Gateway/demo/gate".to_owned();
    assert!(!told(&engine).contains(&gate));
    engine.step(Event::Batch(batch(std::slice::from_ref(&web))));
    assert!(told(&engine).contains(&gate));
    // One that was deployed is reached by its Service and its pods.
    let mut of_gate = service("demo", "gate", "gate-1", "10.96.0.9");
    of_gate["metadata"]["labels"] = json!({"gateway.networking.k8s.io/gateway-name": "gate"});
    let pod = pod_value("demo", "gate-1", "10.0.0.7");
    objects = vec![of_gate, pod];
    engine.step(Event::Batch(batch(&objects)));
    let now = told(&engine);
    assert!(now.contains(&"demo/gate.demo.svc.cluster.local".to_owned()));
    assert!(
        now.contains(&"Kubernetes//Pod/demo/gate-1".to_owned()),
        "{now:?}"
    );
}

#[test]
fn nobody_uses_a_gateway_as_a_waypoint_and_its_pods_take_no_tunnels() {
    let mut web = service("demo", "web", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "edge"});
    let label = json!({"gateway.networking.k8s.io/gateway-name": "edge"});
    let mut of_edge = service("demo", "edge", "edge", "10.96.0.9");
    of_edge["metadata"]["labels"] = label.clone();
    let mut pod = pod_value("demo", "edge", "10.0.0.7");
    pod["metadata"]["labels"] = label;
    let mut objects = mesh();
    objects.extend([web, of_edge, pod]);
    let engine = engine(&objects);
    let scope = &engine.current().waypoints[&NsName::new("demo", "edge")];
    assert!(scope.consumers.is_empty());
    let missing = engine.problems.iter();
    let missing = missing.filter(|p| {
        p.rejection
            .message
            .contains("there is no waypoint demo/edge")
    });
    assert_eq!(missing.count(), 1);
    let pod = engine
        .world
        .cache
        .pods
        .get(&NsName::new("demo", "edge"))
        .unwrap();
    assert!(!waypoint::is_instance(&engine.world, pod));
    assert!(waypoint::part_of(&engine.world, &pod.meta).is_some());
}

#[test]
fn attached_routes_are_counted() {
    let mut engine = engine(&mesh());
    let edge = NsName::new("demo", "edge");
    let attached = |engine: &Engine| engine.current().gateways[&edge].listeners[0].attached;
    assert_eq!(attached(&engine), 1);
    engine.step(Event::Batch(batch(&[route(
        "demo",
        "s",
        to("edge", "gone"),
    )])));
    assert_eq!(attached(&engine), 2);
    engine.step(Event::Batch(batch(&[route(
        "demo",
        "r",
        to("gate", "web"),
    )])));
    assert_eq!(attached(&engine), 1);
    let changes = vec![Change::Remove(Key {
        kind: Kind::Gateway,
        name: edge.clone(),
    })];
    engine.step(Event::Batch(Batch {
        changes,
        ..Batch::default()
    }));
    assert!(engine.current().gateways.get(&edge).is_none());
    engine.step(Event::Batch(batch(&[gateway(
        "demo",
        "edge",
        https("demo"),
    )])));
    assert_eq!(attached(&engine), 1);
}
