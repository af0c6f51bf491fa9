//! Each parent has its own verdict.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use serde_json::{Value, json};

use crate::model::{Kind, NsName};
use crate::testing::{
    gateway, grant, listener_set, namespace, of_kind, route, service, waypoint, world,
};
use crate::translate::route::Translated;
use crate::translate::{Message, route as http, stream_route};
use crate::world::Consumer;

fn listeners() -> Value {
    let all = json!({"namespaces": {"from": "All"}});
    json!([
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "wide", "port": 8080, "protocol": "HTTP", "hostname": "*.x.org", "allowedRoutes": all},
        {"name": "tcp", "port": 9000, "protocol": "TCP"},
        {"name": "udp", "port": 9001, "protocol": "UDP"},
        {"name": "tls", "port": 8443, "protocol": "TLS", "hostname": "*.x.org", "tls": {"mode": "Passthrough"}},
    ])
}

/// The one route among these objects, and the fields and reasons of what is wrong with it.
fn made(kind: Kind, objects: &[Value]) -> (Translated, Vec<(String, &'static str)>) {
    let mut all = vec![
        gateway("demo", "edge", listeners()),
        waypoint("demo", "gate", "10.0.0.9"),
        service("demo", "web", "web", "10.96.0.1"),
        service("far", "web", "web", "10.96.0.2"),
    ];
    all.extend_from_slice(objects);
    let world = world(&all);
    let route = world.cache.objects(kind).swap_remove(0).key();
    let made = match (world.cache.route(&route), world.cache.stream_route(&route)) {
        (Some(object), _) => http::of(&world, kind, object),
        (_, Some(object)) => stream_route::of(&world, kind, object),
        _ => panic!("{route}"),
    };
    let errors = made.findings.iter().filter(|finding| finding.error);
    let errors = errors.map(|finding| (finding.field.to_string(), finding.reason));
    let errors = errors.collect();
    (made, errors)
}

fn edge(more: Value) -> Value {
    let mut parent = json!({"name": "edge", "namespace": "demo"});
    let more = more.as_object().unwrap().clone();
    parent.as_object_mut().unwrap().extend(more);
    parent
}

fn names(made: &Translated) -> Vec<&str> {
    made.attached
        .iter()
        .map(|(_, name)| name.as_str())
        .collect()
}

#[test]
fn what_is_wrong_with_one_parent_does_not_touch_another() {
    let web = json!({"group": "", "kind": "Service", "name": "web"});
    let parents = json!([
        web,
        edge(json!({"sectionName": "http"})),
        edge(json!({"sectionName": "gone"})),
        edge(json!({"sectionName": "http", "port": 81})),
        edge(json!({"sectionName": "tcp"})),
        edge(json!({"sectionName": "wide"})),
        edge(json!({"sectionName": "udp"})),
        {"name": "gate"},
        {"name": "of-others"},
    ]);
    let spec = json!({"parentRefs": parents, "hostnames": ["a.y.org"],
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]});
    let (made, errors) = made(Kind::HttpRoute, &[route("demo", "r", spec)]);
    let at = |i: usize, field: &str| format!("spec.parentRefs[{i}]{field}");
    assert_eq!(
        errors,
        [
            (at(2, ".sectionName"), "NoMatchingParent"),
            (at(3, ".port"), "NoMatchingParent"),
            (at(4, ""), "NotAllowedByListeners"),
            (at(5, ""), "NoMatchingListenerHostname"),
            (at(6, ""), "NoMatchingParent"),
            (at(7, ""), "InvalidParent"),
        ]
    );
    assert_eq!(names(&made), ["http"]);
    let web = Consumer::Service(NsName::new("demo", "web"));
    assert_eq!(made.parents, [web]);
    let Some(Message::HttpRoute(record)) = made.resource.map(|r| r.message) else {
        panic!()
    };
    assert_eq!(record.parents.len(), 1);
    assert_eq!(record.listeners[0].gateway, "demo/edge");
    assert_eq!(record.listeners[0].hostnames, ["a.y.org"]);
}

#[test]
fn hosts_are_those_of_both() {
    let spec = json!({"parentRefs": [edge(json!({})), edge(json!({"port": 8080}))],
        "hostnames": ["a.x.org", "b.y.org"]});
    let (made, errors) = made(
        Kind::GrpcRoute,
        &[of_kind("GRPCRoute", route("demo", "r", spec))],
    );
    assert_eq!(errors, []);
    // Once, though two references lead there.
    assert_eq!(names(&made), ["http", "wide"]);
    let Some(Message::HttpRoute(record)) = made.resource.map(|r| r.message) else {
        panic!()
    };
    assert_eq!(record.listeners[0].hostnames, ["a.x.org", "b.y.org"]);
    assert_eq!(record.listeners[1].hostnames, ["a.x.org"]);
}

#[test]
fn namespaces_are_allowed_or_not() {
    let spec = || json!({ "parentRefs": [edge(json!({}))] });
    let (elsewhere, errors) = made(Kind::HttpRoute, &[route("far", "r", spec())]);
    assert_eq!((names(&elsewhere), errors), (vec!["wide"], vec![]));
    let spec = json!({"parentRefs": [edge(json!({"sectionName": "http"}))]});
    let (elsewhere, errors) = made(Kind::HttpRoute, &[route("far", "r", spec)]);
    assert_eq!(names(&elsewhere), Vec::<&str>::new());
    assert_eq!(errors[0].1, "NotAllowedByListeners");
    assert!(elsewhere.resource.is_none());
    let selector =
        json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}});
    let labelled = |labels: Value| {
        let listener =
            json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": selector}]);
        let spec = json!({"parentRefs": [{"name": "rim", "namespace": "demo"}]});
        let objects = [
            gateway("demo", "rim", listener),
            namespace("far", labels),
            route("far", "r", spec),
        ];
        made(Kind::HttpRoute, &objects).0.attached.len()
    };
    assert_eq!(labelled(json!({"team": "a"})), 1);
    assert_eq!(labelled(json!({"team": "b"})), 0);
}

#[test]
fn routes_of_connections() {
    let backends =
        json!([{"backendRefs": [{"name": "web", "port": 80}, {"name": "gone", "port": 80}]}]);
    let web = json!({"group": "", "kind": "Service", "name": "web"});
    let far = json!({"group": "", "kind": "Service", "name": "web", "namespace": "far"});
    let spec = json!({"parentRefs": [edge(json!({})), web, far], "rules": backends});
    let (tcp, errors) = made(
        Kind::TcpRoute,
        &[of_kind("TCPRoute", route("demo", "r", spec.clone()))],
    );
    assert_eq!(names(&tcp), ["tcp"]);
    assert_eq!(
        errors,
        [
            (
                "spec.parentRefs[2].namespace".to_owned(),
                "UnsupportedValue"
            ),
            (
                "spec.rules[0].backendRefs[1].name".to_owned(),
                "BackendNotFound"
            )
        ]
    );
    let resource = tcp.resource.unwrap();
    assert_eq!(&*resource.name, "TCPRoute/demo/r");
    let Message::StreamRoute(record) = resource.message else {
        panic!()
    };
    // Nobody takes another namespace's connections.
    assert_eq!((record.tls, record.parents.len()), (false, 1));
    assert_eq!(record.backends.len(), 2);
    let mut spec = spec;
    spec["hostnames"] = json!(["*.a.x.org", "y.org"]);
    let (tls, _) = made(
        Kind::TlsRoute,
        &[of_kind("TLSRoute", route("demo", "r", spec))],
    );
    assert_eq!(names(&tls), ["tls"]);
    let Some(Message::StreamRoute(record)) = tls.resource.map(|r| r.message) else {
        panic!()
    };
    assert!(record.tls);
    assert_eq!(record.listeners[0].hostnames, ["*.a.x.org"]);
    assert_eq!(record.hostnames.len(), 2);
}

#[test]
fn another_namespace_permits_what_leads_to_it() {
    let rules = json!([{"backendRefs": [{"name": "web", "namespace": "far", "port": 80}],
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "web", "namespace": "far", "port": 80}}}]}]);
    let far = json!({"group": "", "kind": "Service", "name": "web", "namespace": "far"});
    let with = |parents: Value, grants: &[Value]| {
        let spec = json!({"parentRefs": parents, "rules": rules});
        let mut objects = vec![route("demo", "r", spec)];
        objects.extend_from_slice(grants);
        let (made, errors) = made(Kind::HttpRoute, &objects);
        let denied = errors
            .iter()
            .filter(|(_, reason)| *reason == "RefNotPermitted");
        (denied.count(), made.backends.len())
    };
    let permits = || grant("far", ("HTTPRoute", "demo"), "Service");
    let mesh = || json!([{"group": "", "kind": "Service", "name": "web"}]);
    for parents in [mesh(), json!([edge(json!({}))])] {
        assert_eq!(with(parents.clone(), &[]), (2, 0));
        assert_eq!(with(parents.clone(), &[permits()]), (0, 2));
        let other = [
            grant("far", ("GRPCRoute", "demo"), "Service"),
            grant("demo", ("HTTPRoute", "demo"), "Service"),
            grant("far", ("HTTPRoute", "other"), "Service"),
            grant("far", ("HTTPRoute", "demo"), "Secret"),
        ];
        for other in other {
            assert_eq!(with(parents.clone(), &[other]), (2, 0));
        }
    }
    // A consumer may call the service without any route; clients of a gateway may not.
    assert_eq!(with(json!([far]), &[]), (0, 2));
    assert_eq!(with(json!([far, edge(json!({}))]), &[]), (2, 0));
}

/// `demo/edge` with the namespaces whose sets it allows.
fn allowing(from: &str) -> Value {
    let mut edge = gateway("demo", "edge", listeners());
    edge["spec"]["allowedListeners"] = json!({"namespaces": {"from": from}});
    edge
}

fn to_set(namespace: &str, more: Value) -> Value {
    let mut parent = json!({"kind": "ListenerSet", "group": "gateway.networking.k8s.io", "name": "set", "namespace": namespace});
    let more = more.as_object().unwrap().clone();
    parent.as_object_mut().unwrap().extend(more);
    parent
}

#[test]
fn a_listener_of_a_set_is_the_sets_alone() {
    let own = |from: &str| {
        json!([
            {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "s.org"},
            {"name": "only", "port": 81, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": from}}},
            // Lost to the Gateway's own.
            {"name": "wide", "port": 8080, "protocol": "HTTP", "hostname": "*.x.org"},
        ])
    };
    let parents = json!([
        to_set("far", json!({})),
        to_set("far", json!({"sectionName": "http"})),
        to_set("far", json!({"sectionName": "wide"})),
        to_set("far", json!({"sectionName": "tcp"})),
        to_set("far", json!({"port": 8080})),
        edge(json!({"sectionName": "only"})),
        // Nobody's, as far as is known.
        to_set("demo", json!({})),
    ]);
    let all = |from: &str, namespace: &str, allowed: &str| {
        let set = listener_set("far", "set", ("demo", "edge"), own(from));
        let spec = json!({ "parentRefs": parents });
        made(
            Kind::HttpRoute,
            &[allowing(allowed), set, route(namespace, "r", spec)],
        )
    };
    let at = |i: usize, field: &str| format!("spec.parentRefs[{i}]{field}");
    let none = "NoMatchingParent";
    let (of_far, errors) = all("Same", "far", "All");
    assert_eq!(names(&of_far), ["far/set/http", "far/set/only"]);
    assert_eq!(
        errors,
        [
            (at(2, ""), none),
            (at(3, ".sectionName"), none),
            (at(4, ""), none),
            (at(5, ".sectionName"), none),
        ]
    );
    let Some(Message::HttpRoute(record)) = of_far.resource.map(|r| r.message) else {
        panic!()
    };
    // The names by which the gateway's instances know them, and no other listener's.
    assert_eq!(record.listeners[0].gateway, "demo/edge");
    assert_eq!(record.listeners[0].listener, "far/set/http");
    assert_eq!(record.listeners[0].hostnames, ["s.org"]);
    // "Same" is the set's namespace, not the Gateway's.
    let (of_demo, errors) = all("Same", "demo", "All");
    assert_eq!(names(&of_demo), Vec::<&str>::new());
    assert_eq!(errors[0].1, "NotAllowedByListeners");
    let (of_demo, _) = all("All", "demo", "All");
    assert_eq!(names(&of_demo), ["far/set/only"]);
    // A set that is not allowed has no listeners for anybody.
    let (refused, errors) = all("Same", "far", "Same");
    assert_eq!(names(&refused), Vec::<&str>::new());
    assert_eq!(errors[0], (at(0, ""), none));
}

#[test]
fn a_reference_to_the_gateway_is_to_no_listener_of_a_set() {
    let listeners = json!([{"name": "extra", "port": 82, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]);
    let set = listener_set("demo", "set", ("demo", "edge"), listeners);
    let spec = json!({ "parentRefs": [edge(json!({})), to_set("demo", json!({}))] });
    let (both, errors) = made(
        Kind::HttpRoute,
        &[allowing("Same"), set, route("demo", "r", spec)],
    );
    assert_eq!(errors, []);
    assert_eq!(names(&both), ["http", "wide", "demo/set/extra"]);
}
