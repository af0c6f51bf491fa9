//! That small steps and a fresh start lead to the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{batch, captured, engine};
use super::*;
use crate::testing::{
    culvert, gateway, grant, ingress, ingress_path, mesh_config, namespace, object, of_kind, pairs,
    pod_value, route, secret, service, waypoint,
};

/// All that is served, as text.
fn served(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, resources) in &snapshot.resources {
        lines.extend(
            resources
                .values()
                .map(|r| format!("{kind} {} {}", r.name, r.version)),
        );
    }
    lines.extend(
        snapshot
            .waived
            .values()
            .map(|r| format!("waived {} {}", r.name, r.version)),
    );
    lines.extend(
        snapshot
            .aliases
            .iter()
            .map(|(alias, name)| format!("alias {alias} {name}")),
    );
    for (node, view) in &snapshot.nodes {
        let pods: Vec<_> = view.pods.values().map(|r| (&r.name, &r.version)).collect();
        lines.push(format!(
            "node {node} {pods:?} {:?} {:?}",
            view.policies, view.identities
        ));
    }
    lines.extend(
        snapshot
            .waypoints
            .iter()
            .map(|(name, scope)| format!("waypoint {name} {scope:?}")),
    );
    for (name, state) in &snapshot.gateways {
        lines.push(format!("gateway {name} {state:?}"));
    }
    lines
}

/// All that is said of objects, as text.
fn said(engine: &Engine) -> Vec<String> {
    let found = engine.findings.values().flatten();
    found.map(|finding| format!("{finding:?}")).collect()
}

/// Each is there in one of several forms, or not.
pub(crate) type Candidates = Vec<Vec<Value>>;

/// Objects that have much to do with each other.
pub(crate) fn candidates() -> Candidates {
    [
        workloads(),
        services(),
        policies(),
        traffic(),
        gateways(),
        of_gateways(),
        ingresses(),
    ]
    .concat()
}

/// The value with other content at a JSON pointer.
fn with(mut value: Value, pointer: &str, content: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[last] = content;
    value
}

fn workloads() -> Candidates {
    let pod = |name: &str, address: &str| pod_value("demo", name, address);
    let enrolled = json!({"app": "a", "culvert.dev/dataplane-mode": "ambient"});
    let node = json!({"apiVersion": "v1", "kind": "Node",
                      "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}});
    vec![
        vec![
            namespace("demo", json!({})),
            namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
            namespace(
                "demo",
                json!({"culvert.dev/dataplane-mode": "ambient", "culvert.dev/use-waypoint": "gate"}),
            ),
        ],
        vec![
            pod("a", "10.0.0.1"),
            pod("a", "10.0.0.2"),
            with(pod("a", "10.0.0.1"), "/spec/nodeName", json!("n2")),
            with(
                pod("a", "10.0.0.1"),
                "/metadata/deletionTimestamp",
                json!("2026-01-01T00:00:00Z"),
            ),
        ],
        vec![
            pod("b", "10.0.0.2"),
            pod("b", "10.0.0.9"),
            with(pod("b", "10.0.0.2"), "/status/phase", json!("Failed")),
            with(pod("b", "10.0.0.2"), "/metadata/labels", enrolled),
        ],
        vec![pod_value("far", "a", "10.0.0.7")],
        vec![node],
    ]
}

fn services() -> Candidates {
    let web = service("demo", "web", "a", "10.96.0.1");
    let gate = waypoint("demo", "gate", "10.0.0.9");
    let far =
        json!({"culvert.dev/use-waypoint": "gate", "culvert.dev/use-waypoint-namespace": "demo"});
    let slice = |endpoints: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {"name": "s", "namespace": "demo", "labels": {"kubernetes.io/service-name": "web"}},
               "ports": [{"name": "http", "port": 9090}], "endpoints": endpoints})
    };
    let all = json!({"namespaces": {"from": "All"}});
    vec![
        vec![
            web.clone(),
            with(
                web.clone(),
                "/metadata/labels",
                json!({"culvert.dev/use-waypoint": "gate"}),
            ),
            with(
                web.clone(),
                "/metadata/labels",
                json!({"culvert.dev/use-waypoint": "none"}),
            ),
            with(web, "/spec/selector", json!({"app": "b"})),
        ],
        vec![service("demo", "v2", "b", "10.96.0.2")],
        vec![with(
            service("far", "web", "a", "10.96.0.7"),
            "/metadata/labels",
            far,
        )],
        vec![
            gate.clone(),
            with(
                gate.clone(),
                "/metadata/labels",
                json!({"culvert.dev/waypoint-for": "all"}),
            ),
            with(gate.clone(), "/spec/listeners/0/allowedRoutes", all),
            with(gate, "/spec/addresses", json!([{"value": "10.0.0.2"}])),
        ],
        vec![
            slice(json!([{"addresses": ["10.0.0.2"]}])),
            slice(json!([{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}}])),
            slice(json!([{"addresses": ["192.0.2.1"]}])),
        ],
    ]
}

fn policies() -> Candidates {
    let authorization =
        |namespace: &str, spec: Value| culvert("AuthorizationPolicy", namespace, "p", spec);
    let strict = |namespace: &str, mode: &str| {
        culvert(
            "PeerAuthentication",
            namespace,
            "x",
            json!({"mtls": {"mode": mode}}),
        )
    };
    let app = |app: &str| json!({"selector": {"matchLabels": {"app": app}}});
    let ports = json!({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"80": {"mode": "STRICT"}}});
    let mesh = mesh_config;
    vec![
        vec![
            authorization("demo", json!({})),
            authorization("demo", app("a")),
            authorization("demo", json!({"targetRefs": target("Service", "web")})),
            authorization("demo", json!({"targetRefs": target("Gateway", "gate")})),
            authorization("demo", json!({"targetRefs": target("Gateway", "edge")})),
        ],
        vec![
            authorization("culvert-system", json!({})),
            authorization("culvert-system", app("b")),
        ],
        vec![
            strict("demo", "STRICT"),
            strict("demo", "PERMISSIVE"),
            culvert("PeerAuthentication", "demo", "x", ports.clone()),
        ],
        vec![culvert("PeerAuthentication", "demo", "y", ports)],
        vec![
            strict("culvert-system", "STRICT"),
            strict("culvert-system", "UNSET"),
        ],
        vec![
            mesh(json!({"rootNamespace": "demo"})),
            mesh(json!({"clusterDomain": "x.local"})),
            mesh(json!({"ingressHostOwnership": "Shared"})),
        ],
    ]
}

fn traffic() -> Candidates {
    let to = |backend: &str| {
        let rules = json!([{"backendRefs": [{"name": backend, "port": 80}]}]);
        route(
            "demo",
            "r",
            json!({"parentRefs": target("Service", "web"), "rules": rules}),
        )
    };
    let consumer = |service: &str| {
        let parent =
            json!([{"group": "", "kind": "Service", "name": service, "namespace": "demo"}]);
        let backend =
            json!([{"backendRefs": [{"name": service, "namespace": "demo", "port": 80}]}]);
        route(
            "other",
            "c",
            json!({"parentRefs": parent, "rules": backend}),
        )
    };
    let mut grpc = [to("v2"), to("v3")];
    for route in &mut grpc {
        route["kind"] = "GRPCRoute".into();
    }
    let policy =
        |target: Value| culvert("TrafficPolicy", "demo", "t", json!({"targetRefs": target}));
    let of_connections = |mut aim: Value| {
        aim["tcp"] = json!({"reset": {}});
        aim
    };
    let fault = json!({"targetRefs": target("HTTPRoute", "r"), "delay": {"fixedDelay": "1s"}});
    vec![
        vec![
            to("v2"),
            to("v3"),
            route("demo", "r", json!({"parentRefs": []})),
        ],
        grpc.into(),
        vec![consumer("web"), consumer("v2")],
        vec![
            policy(target("Service", "web")),
            policy(target("HTTPRoute", "r")),
            policy(target("GRPCRoute", "r")),
        ],
        vec![
            culvert("FaultPolicy", "demo", "f", fault),
            culvert(
                "FaultPolicy",
                "demo",
                "f",
                of_connections(json!({"targetRefs": target("Service", "web")})),
            ),
            culvert(
                "FaultPolicy",
                "demo",
                "f",
                of_connections(json!({"selector": {"matchLabels": {"app": "a"}}})),
            ),
        ],
    ]
}

fn gateways() -> Candidates {
    let listener = |protocol: &str, port: u16| json!({"name": protocol.to_lowercase(), "port": port, "protocol": protocol});
    let tls = |namespace: &str| {
        let mut listener = listener("HTTPS", 443);
        listener["tls"] = json!({"certificateRefs": [{"name": "cert", "namespace": namespace}]});
        listener
    };
    let passthrough = || {
        with(
            listener("TLS", 8443),
            "/tls",
            json!({"mode": "Passthrough"}),
        )
    };
    let selector = json!({"namespaces": {"from": "Selector",
        "selector": {"matchLabels": {"culvert.dev/dataplane-mode": "ambient"}}}});
    let all = json!({"namespaces": {"from": "All"}});
    let [good, other] = pairs();
    let of =
        |namespace: &str, pair: &(String, String)| secret(namespace, "cert", (&pair.0, &pair.1));
    let edge = |listeners: Value| gateway("demo", "edge", listeners);
    vec![
        vec![
            edge(json!([
                listener("HTTP", 80),
                tls("demo"),
                listener("TCP", 9000),
                passthrough()
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/allowedRoutes", all.clone()),
                tls("far")
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/allowedRoutes", selector),
                listener("TCP", 80)
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/hostname", json!("*.x.org")),
                tls("gone")
            ])),
            waypoint("demo", "edge", "10.0.0.8"),
        ],
        vec![of("demo", good), of("demo", other)],
        vec![of("far", good)],
        vec![secret("far", "bad", ("x", "y"))],
        vec![
            grant("far", ("Gateway", "demo"), "Secret"),
            grant("far", ("HTTPRoute", "demo"), "Service"),
            grant("far", ("TCPRoute", "demo"), "Service"),
        ],
        vec![gateway(
            "far",
            "rim",
            json!([with(tls("far"), "/allowedRoutes", all)]),
        )],
    ]
}

fn of_gateways() -> Candidates {
    let to = |namespace: &str| json!([{"backendRefs": [{"name": "web", "namespace": namespace, "port": 80}]}]);
    let edge =
        |section: Value| json!([{"name": "edge", "namespace": "demo", "sectionName": section}]);
    let both = json!([{"name": "edge"}, {"name": "rim", "namespace": "far"}, {"group": "", "kind": "Service", "name": "web"}]);
    let stream = |kind: &str, parents: Value, rules: Value| {
        of_kind(
            kind,
            route("demo", "s", json!({"parentRefs": parents, "rules": rules})),
        )
    };
    let hosts = json!(["a.x.org", "b.y.org"]);
    vec![
        vec![
            route("demo", "e", json!({"parentRefs": both, "rules": to("far")})),
            route(
                "demo",
                "e",
                json!({"parentRefs": edge(Value::Null), "hostnames": hosts, "rules": to("demo")}),
            ),
            route(
                "demo",
                "e",
                json!({"parentRefs": edge(json!("https")), "rules": to("far")}),
            ),
        ],
        vec![route(
            "far",
            "e",
            json!({"parentRefs": edge(json!("http")), "rules": to("far")}),
        )],
        vec![
            stream("TCPRoute", edge(Value::Null), to("demo")),
            stream("TCPRoute", both, to("far")),
        ],
        vec![
            stream("TLSRoute", edge(json!("tls")), to("demo")),
            stream("TLSRoute", target("Service", "web"), to("demo")),
        ],
    ]
}

fn ingresses() -> Candidates {
    let rule = |host: &str, service: &str| json!({"host": host, "http": {"paths": [ingress_path("Prefix", "/", service)]}});
    let tls = |hosts: &[&str]| json!([{"hosts": hosts, "secretName": "cert"}]);
    let of_demo = |second, spec| ingress("demo", "i", second, spec);
    let default = json!({"service": {"name": "web", "port": {"number": 80}}});
    let redirecting = with(
        of_demo(
            2,
            json!({"rules": [rule("x.org", "v2")], "tls": tls(&["x.org"])}),
        ),
        "/metadata/annotations",
        json!({"culvert.dev/ssl-redirect": "true"}),
    );
    let class = |controller: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
               "metadata": {"name": "culvert"}, "spec": {"controller": controller}})
    };
    vec![
        vec![
            of_demo(
                2,
                json!({"rules": [rule("x.org", "web"), rule("*.x.org", "v2")], "tls": tls(&["*.x.org"])}),
            ),
            of_demo(
                2,
                json!({"rules": [rule("y.org", "gone")], "defaultBackend": default}),
            ),
            redirecting,
        ],
        vec![
            ingress("demo", "j", 1, json!({"rules": [rule("x.org", "v2")]})),
            ingress(
                "demo",
                "j",
                3,
                json!({"rules": [rule("x.org", "web")], "defaultBackend": default}),
            ),
        ],
        vec![
            ingress(
                "far",
                "i",
                1,
                json!({"rules": [rule("x.org", "web")], "tls": tls(&[])}),
            ),
            ingress(
                "far",
                "i",
                4,
                json!({"rules": [rule("a.x.org", "web"), rule("y.org", "web")], "defaultBackend": default}),
            ),
        ],
        vec![class("culvert.dev/ingress"), class("example.com/other")],
        vec![gateway(
            "culvert-system",
            "culvert-ingress",
            json!([{"name": "http", "port": 80, "protocol": "HTTP"}]),
        )],
        vec![route(
            "culvert-system",
            "stray",
            json!({"parentRefs": [{"name": "culvert-ingress"}], "rules": []}),
        )],
    ]
}

fn target(kind: &str, name: &str) -> Value {
    let group = if kind == "Service" {
        ""
    } else {
        "gateway.networking.k8s.io"
    };
    json!([{"group": group, "kind": kind, "name": name}])
}

#[derive(Clone, Debug)]
enum Op {
    Put(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    Captured(bool),
    Waypoint(u8),
    Gateway(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(i, j)| Op::Put(i, j)),
        3 => any::<prop::sample::Index>().prop_map(Op::Remove),
        1 => any::<bool>().prop_map(Op::Captured),
        2 => (0..3u8).prop_map(Op::Waypoint),
        1 => any::<bool>().prop_map(Op::Gateway),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever led there, what is served is what a fresh controller with the same memory and streams would serve.
    #[test]
    fn small_steps_and_a_fresh_start_serve_the_same(ops in prop::collection::vec(op(), 1..40)) {
        let candidates = candidates();
        let gate = NsName::new("demo", "gate");
        let client = Client::Waypoint(gate.clone());
        let mut engine = engine(&[]);
        let mut present: BTreeMap<usize, Value> = BTreeMap::new();
        let edge = NsName::new("demo", "edge");
        let (mut connected, mut edge_connected) = (0, false);
        for op in ops {
            match op {
                Op::Put(i, j) => {
                    let i = i.index(candidates.len());
                    let value = candidates[i][j.index(candidates[i].len())].clone();
                    present.insert(i, value.clone());
                    engine.step(Event::Batch(batch(&[value])));
                }
                Op::Remove(i) => {
                    let i = i.index(candidates.len());
                    if let Some(value) = present.remove(&i) {
                        let changes = vec![Change::Remove(object(&value).key())];
                        engine.step(Event::Batch(Batch { changes, ..Batch::default() }));
                    }
                }
                Op::Captured(first) => engine.step(captured(if first { "a" } else { "b" })),
                Op::Gateway(up) if up != edge_connected => {
                    edge_connected = up;
                    let (client, component) = (Client::Waypoint(edge.clone()), Component::Waypoint);
                    engine.step(if up {
                        Event::Connected(client, component)
                    } else {
                        Event::Disconnected(client, component)
                    });
                }
                Op::Gateway(_) => {}
                Op::Waypoint(0) => {
                    connected += 1;
                    engine.step(Event::Connected(client.clone(), Component::Waypoint));
                }
                Op::Waypoint(1) if connected > 0 => {
                    connected -= 1;
                    engine.step(Event::Disconnected(client.clone(), Component::Waypoint));
                }
                Op::Waypoint(_) => {
                    let scope = engine.current().waypoints.get(&gate).cloned();
                    if let Some(scope) = scope.filter(|_| connected > 0) {
                        engine.step(Event::Programmed(gate.clone(), scope));
                    }
                }
            }
            let World { capture, waypoints, ingresses, .. } = &engine.world;
            let (_, mut waypoints, ingresses) = Memory::of(capture, waypoints, ingresses).recall();
            (0..connected).for_each(|_| waypoints.connect(&gate));
            if edge_connected {
                waypoints.connect(&edge);
            }
            let capture = engine.world.capture.clone();
            let world = World { waypoints, capture, ingresses, ..World::default() };
            let objects: Vec<_> = present.values().cloned().collect();
            let fresh = Engine::new(world, batch(&objects));
            prop_assert_eq!(served(&engine.current()), served(&fresh.current()));
            prop_assert_eq!(said(&engine), said(&fresh));
        }
    }
}
