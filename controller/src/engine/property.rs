//! That small steps and a fresh start lead to the same.

mod gateways;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{batch, captured, engine};
use super::*;
use crate::testing::{
    backend_tls, config_map, culvert, gateway, grant, ingress, ingress_path, listener_set,
    mesh_config, namespace, object, of_kind, pairs, pod_value, route, secret, service, waypoint,
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
        gateways::candidates(),
        entries(),
        to_backends(),
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
            culvert("EgressPolicy", "demo", "e", json!({})),
            culvert("EgressPolicy", "demo", "e", app("a")),
            culvert("EgressPolicy", "demo", "e", app("b")),
        ],
        vec![culvert("EgressPolicy", "culvert-system", "e", app("a"))],
        vec![
            mesh(json!({"rootNamespace": "demo"})),
            mesh(json!({"outboundTraffic": "RegistryOnly"})),
            mesh(json!({"clusterDomain": "x.local"})),
            mesh(json!({"ingressHostOwnership": "Shared"})),
            mesh(json!({"serviceEntries": {"exportFrom": ["*"]}})),
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
    let of_backend = |name: &str, mut spec: Value| {
        spec["targetRefs"] = target("Service", "web");
        let mut policy = culvert("XBackendTrafficPolicy", "demo", name, spec);
        policy["apiVersion"] = "gateway.networking.x-k8s.io/v1alpha1".into();
        policy
    };
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
            with(
                policy(target("Service", "web")),
                "/spec/retryConstraint",
                json!({}),
            ),
            policy(target("HTTPRoute", "r")),
            policy(target("GRPCRoute", "r")),
        ],
        vec![
            of_backend("x", json!({})),
            of_backend("x", json!({"retryConstraint": {}})),
        ],
        vec![of_backend("y", json!({"sessionPersistence": {}}))],
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

/// Outside of the cluster.
fn entries() -> Candidates {
    let spec = |hosts: Value| json!({"hosts": hosts, "resolution": "DNS", "ports": [{"number": 80, "name": "http"}]});
    let entry = |namespace: &str, name: &str, spec: Value| {
        let mut entry = culvert("ServiceEntry", namespace, name, spec);
        entry["metadata"]["labels"] = json!({});
        entry
    };
    let one = entry("demo", "out", spec(json!(["a.x.org"])));
    let fixed = |ip: &str, own: &str| {
        let mut spec = spec(json!(["a.x.org", "b.x.org"]));
        spec["resolution"] = json!("STATIC");
        spec["endpoints"] = json!([{"address": ip}]);
        spec["addresses"] = json!([own]);
        entry("demo", "out", spec)
    };
    let waypoint = json!({"culvert.dev/use-waypoint": "gate"});
    let exported = with(spec(json!(["a.x.org"])), "/exportTo", json!(["*"]));
    let led = |kind: &str, name: &str| {
        let rules = json!([{"backendRefs": [{"group": "culvert.dev", "kind": "ServiceEntry", "name": "out", "port": 80}]}]);
        route(
            "demo",
            "o",
            json!({"parentRefs": target(kind, name), "rules": rules}),
        )
    };
    let policy = |kind: &str, spec: Value| {
        let mut spec = spec;
        spec["targetRefs"] = target("ServiceEntry", "out");
        culvert(kind, "demo", "o", spec)
    };
    vec![
        vec![
            one.clone(),
            with(one, "/metadata/labels", waypoint),
            fixed("10.0.0.2", "192.0.2.9"),
            fixed("192.0.2.1", "10.96.0.1"),
            fixed("192.0.2.1", "192.0.2.9"),
        ],
        vec![entry("demo", "twin", spec(json!(["b.x.org", "a.x.org"])))],
        vec![entry("far", "out", exported)],
        vec![entry("culvert-system", "out", spec(json!(["a.x.org"])))],
        vec![led("ServiceEntry", "out"), led("Service", "web")],
        vec![policy("AuthorizationPolicy", json!({}))],
        vec![policy("TrafficPolicy", json!({}))],
        vec![policy(
            "FaultPolicy",
            json!({"delay": {"fixedDelay": "1s"}}),
        )],
    ]
}

fn to_backends() -> Candidates {
    let refs = json!([{"group": "", "kind": "ConfigMap", "name": "ca"}]);
    let validation = json!({"hostname": "a.x.org", "caCertificateRefs": refs});
    let policy = |namespace: &str, name: &str, section: Option<&str>| {
        backend_tls(namespace, name, ("web", section), validation.clone())
    };
    let [good, other] = pairs();
    let younger = with(
        policy("demo", "x", None),
        "/metadata/creationTimestamp",
        json!("2026-01-01T00:00:00Z"),
    );
    vec![
        vec![
            policy("demo", "x", None),
            policy("demo", "x", Some("http")),
            younger,
            backend_tls("demo", "x", ("web", None), json!({"hostname": "a.x.org"})),
        ],
        vec![policy("demo", "y", None), policy("demo", "y", Some("gone"))],
        vec![policy("far", "x", Some("http"))],
        vec![
            config_map("demo", "ca", &good.0),
            config_map("demo", "ca", &other.0),
            config_map("demo", "ca", ""),
        ],
    ]
}

fn target(kind: &str, name: &str) -> Value {
    let group = match kind {
        "Service" => "",
        "ServiceEntry" => "culvert.dev",
        _ => "gateway.networking.k8s.io",
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
            let mut world = Memory::of(&engine.world).recall();
            (0..connected).for_each(|_| world.waypoints.connect(&gate));
            if edge_connected {
                world.waypoints.connect(&edge);
            }
            world.capture = engine.world.capture.clone();
            let objects: Vec<_> = present.values().cloned().collect();
            let fresh = Engine::new(world, batch(&objects));
            prop_assert_eq!(served(&engine.current()), served(&fresh.current()));
            prop_assert_eq!(said(&engine), said(&fresh));
        }
    }
}
