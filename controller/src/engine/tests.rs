//! That small steps and a fresh start lead to the same, and who is told what.

use culvert_proto::node::{PodState, Report};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::{Effect, Rejection};
use crate::testing::{culvert, namespace, object, pod_value, route, service, waypoint};
use crate::translate::Type;

pub(crate) fn batch(objects: &[Value]) -> Batch {
    let put = |value: &Value| Change::Put(object(value), Origin::default());
    Batch {
        changes: objects.iter().map(put).collect(),
        rejections: Vec::new(),
    }
}

pub(crate) fn engine(objects: &[Value]) -> Engine {
    Engine::new(World::default(), batch(objects))
}

impl Engine {
    pub(crate) fn step(&mut self, event: Event) {
        let dirty = self.take(event);
        self.refresh(dirty);
    }

    fn current(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn names(&self, kind: Type) -> Vec<String> {
        self.current()
            .all(kind)
            .keys()
            .map(ToString::to_string)
            .collect()
    }
}

fn captured(pod: &str) -> Event {
    let state = PodState {
        uid: format!("Kubernetes//Pod/demo/{pod}"),
        capture: "captured".into(),
        ..PodState::default()
    };
    let report = Report {
        pods: vec![state],
        ..Report::default()
    };
    Event::Report(
        Client::Node("n1".into()),
        Component::Agent,
        Box::new(report),
    )
}

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
    lines
}

#[test]
fn one_pod_changes_one_address() {
    let mut engine = engine(&[
        pod_value("demo", "a", "10.0.0.1"),
        pod_value("demo", "b", "10.0.0.2"),
        service("demo", "a", "a", "10.96.0.1"),
    ]);
    let before = engine.current();
    let mut changed = pod_value("demo", "a", "10.0.0.1");
    changed["metadata"]["labels"]["version"] = json!("v2");
    engine.step(Event::Batch(batch(&[changed])));
    let (old, new) = (
        before.all(Type::Address),
        engine.current().all(Type::Address),
    );
    let differs: Vec<_> = old
        .diff(&new)
        .map(|item| match item {
            imbl::ordmap::DiffItem::Update { new, .. } => new.0.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(differs, ["Kubernetes//Pod/demo/a"]);
    assert!(Arc::ptr_eq(
        &old["Kubernetes//Pod/demo/b"],
        &new["Kubernetes//Pod/demo/b"]
    ));
}

#[test]
fn capture_is_believed_of_the_pods_own_agent_only() {
    let objects = [
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
    ];
    let hbone = |client: Client, component| {
        let mut engine = engine(&objects);
        let Event::Report(_, _, report) = captured("a") else {
            panic!()
        };
        engine.step(Event::Report(client, component, report));
        engine.world.capture.is_hbone(&NsName::new("demo", "a"))
    };
    assert!(hbone(Client::Node("n1".into()), Component::Agent));
    assert!(!hbone(Client::Node("n2".into()), Component::Agent));
    assert!(!hbone(Client::Node("n1".into()), Component::Ztunnel));
    assert!(!hbone(
        Client::Waypoint(NsName::new("demo", "gate")),
        Component::Waypoint
    ));
}

fn mesh_with_waypoint() -> Vec<Value> {
    let mut web = service("demo", "web", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let rule = json!({"backendRefs": [{"name": "v2", "port": 80}]});
    let parents = json!([{"group": "", "kind": "Service", "name": "web"}]);
    vec![
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        pod_value("demo", "b", "10.0.0.2"),
        pod_value("demo", "c", "10.0.0.3"),
        web,
        service("demo", "v2", "b", "10.96.0.2"),
        service("demo", "else", "c", "10.96.0.3"),
        waypoint("demo", "gate", "10.0.0.9"),
        route("demo", "r", json!({"parentRefs": parents, "rules": [rule]})),
        culvert(
            "FaultPolicy",
            "demo",
            "f",
            json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}], "delay": {"fixedDelay": "1s"}}),
        ),
        culvert(
            "TrafficPolicy",
            "demo",
            "t",
            json!({"targetRefs": [{"kind": "Service", "name": "else"}]}),
        ),
        culvert(
            "AuthorizationPolicy",
            "demo",
            "p",
            json!({"targetRefs": [{"kind": "Service", "name": "web"}]}),
        ),
    ]
}

#[test]
fn a_waypoint_is_told_what_concerns_it_and_no_more() {
    let engine = engine(&mesh_with_waypoint());
    let snapshot = engine.current();
    let scope = snapshot
        .waypoints
        .get(&NsName::new("demo", "gate"))
        .unwrap();
    let texts = |set: &BTreeSet<Arc<str>>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(&scope.addresses),
        [
            "Kubernetes//Pod/demo/a",
            "Kubernetes//Pod/demo/b",
            "Kubernetes/gateway.networking.k8s.io/Gateway/demo/gate",
            "demo/v2.demo.svc.cluster.local",
            "demo/web.demo.svc.cluster.local"
        ]
    );
    assert_eq!(texts(&scope.routes), ["HTTPRoute/demo/r"]);
    assert_eq!(texts(&scope.faults), ["FaultPolicy/demo/f"]);
    assert_eq!(texts(&scope.traffic), Vec::<String>::new());
    assert_eq!(
        texts(&scope.authorizations),
        ["culvert-system/culvert_admit_only_demo.gate", "demo/p"]
    );
    assert_eq!(
        texts(&scope.waived),
        ["culvert-system/culvert_admit_only_demo.gate"]
    );
    let guard = &scope.authorizations.first().unwrap().clone();
    assert_ne!(
        snapshot.waived[guard].version,
        snapshot.all(Type::Authorization)[guard].version
    );
}

#[test]
fn programmed_once_acknowledged_and_remembered() {
    let mut engine = engine(&mesh_with_waypoint());
    let gate = NsName::new("demo", "gate");
    let address = |engine: &Engine| {
        let all = engine.current().all(Type::Address);
        all["demo/web.demo.svc.cluster.local"].version.clone()
    };
    let direct = address(&engine);
    engine.step(Event::Connected(
        Client::Waypoint(gate.clone()),
        Component::Waypoint,
    ));
    assert_eq!(address(&engine), direct);
    let scope = engine.current().waypoints[&gate].clone();
    engine.step(Event::Programmed(gate.clone(), scope));
    let through = address(&engine);
    assert_ne!(through, direct);
    engine.step(Event::Disconnected(
        Client::Waypoint(gate.clone()),
        Component::Waypoint,
    ));
    assert_eq!(address(&engine), through);
    // The next start.
    let memory = engine.status().memory;
    let (capture, waypoints) = memory.recall();
    let world = World {
        capture,
        waypoints,
        ..World::default()
    };
    assert_eq!(
        address(&Engine::new(world, batch(&mesh_with_waypoint()))),
        through
    );
    // Without its Gateway the service is refused, not let past it.
    engine.step(Event::Batch(Batch {
        changes: vec![Change::Remove(Key {
            kind: Kind::Gateway,
            name: gate,
        })],
        rejections: Vec::new(),
    }));
    assert!(![&direct, &through].contains(&&address(&engine)));
    assert!(
        engine
            .problems
            .iter()
            .any(|p| p.rejection.message.contains("its traffic is refused"))
    );
}

#[test]
fn a_dangling_reference_names_file_line_object_and_field() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: demo}\nspec:\n  parentRefs:\n  - {group: \"\", kind: Service, name: web}\n  rules:\n  - backendRefs:\n    - name: gone\n      port: 80\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("route.yaml"), text).unwrap();
    std::fs::write(
        dir.path().join("web.json.yaml"),
        service("demo", "web", "web", "10.96.0.1").to_string(),
    )
    .unwrap();
    let (_, batch) = crate::source::dir::Dir::open(dir.path(), &dir.path().join(".state")).unwrap();
    let engine = Engine::new(World::default(), batch);
    let problems: Vec<_> = engine.problems.iter().map(|p| &p.rejection).collect();
    let [
        Rejection {
            file,
            line,
            object,
            field,
            message,
            effect,
        },
    ] = problems.as_slice()
    else {
        panic!("{problems:?}")
    };
    assert!(file.as_ref().unwrap().ends_with("route.yaml"));
    assert_eq!(
        (*line, object.as_str(), field.as_str()),
        (9, "HTTPRoute demo/r", "spec.rules[0].backendRefs[0].name")
    );
    assert_eq!(
        (message.as_str(), *effect),
        ("there is no Service demo/gone", Effect::FailClosed)
    );
}

#[test]
fn the_trust_domain_stays_what_it_is() {
    let config = |domain: &str| {
        json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig",
        "metadata": {"name": "default"}, "spec": {"trustDomain": domain, "certificateTTL": "1h"}})
    };
    let mut engine = engine(&[config("one")]);
    engine.step(Event::Batch(batch(&[config("two")])));
    assert_eq!(engine.trust_domain(), "one");
    assert_eq!(
        engine.problems.iter().next().unwrap().rejection.field,
        "spec.trustDomain"
    );
    assert_eq!(engine.current().certificate_ttl.as_secs(), 3600);
}

/// Objects that have much to do with each other. Each is there in one of several forms, or not.
fn candidates() -> Vec<Vec<Value>> {
    let with = |mut value: Value, pointer: &str, content: Value| {
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[last] = content;
        value
    };
    let web = service("demo", "web", "a", "10.96.0.1");
    let gate = waypoint("demo", "gate", "10.0.0.9");
    let pod = |name: &str, address: &str| pod_value("demo", name, address);
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
    let ports = json!({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"80": {"mode": "STRICT"}}});
    let slice = |endpoints: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s", "namespace": "demo", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 9090}], "endpoints": endpoints})
    };
    let to_web = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let to_gate =
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}]);
    let to_route =
        json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]);
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
            with(
                pod("b", "10.0.0.2"),
                "/metadata/labels",
                json!({"app": "a", "culvert.dev/dataplane-mode": "ambient"}),
            ),
        ],
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
            json!({"culvert.dev/use-waypoint": "gate", "culvert.dev/use-waypoint-namespace": "demo"}),
        )],
        vec![pod_value("far", "a", "10.0.0.7")],
        vec![
            gate.clone(),
            with(
                gate.clone(),
                "/metadata/labels",
                json!({"culvert.dev/waypoint-for": "all"}),
            ),
            with(
                gate.clone(),
                "/spec/listeners/0/allowedRoutes",
                json!({"namespaces": {"from": "All"}}),
            ),
            with(gate, "/spec/addresses", json!([{"value": "10.0.0.2"}])),
        ],
        vec![
            slice(json!([{"addresses": ["10.0.0.2"]}])),
            slice(json!([{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}}])),
            slice(json!([{"addresses": ["192.0.2.1"]}])),
        ],
        vec![
            authorization("demo", json!({})),
            authorization("demo", json!({"selector": {"matchLabels": {"app": "a"}}})),
            authorization("demo", json!({"targetRefs": to_web.clone()})),
            authorization("demo", json!({"targetRefs": to_gate})),
        ],
        vec![
            authorization("culvert-system", json!({})),
            authorization(
                "culvert-system",
                json!({"selector": {"matchLabels": {"app": "b"}}}),
            ),
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
            route(
                "demo",
                "r",
                json!({"parentRefs": to_web.clone(), "rules": [{"backendRefs": [{"name": "v2", "port": 80}]}]}),
            ),
            route(
                "demo",
                "r",
                json!({"parentRefs": to_web.clone(), "rules": [{"backendRefs": [{"name": "v3", "port": 80}]}]}),
            ),
            route("demo", "r", json!({"parentRefs": []})),
        ],
        vec![
            culvert("TrafficPolicy", "demo", "t", json!({"targetRefs": to_web})),
            culvert(
                "TrafficPolicy",
                "demo",
                "t",
                json!({"targetRefs": to_route.clone()}),
            ),
        ],
        vec![culvert(
            "FaultPolicy",
            "demo",
            "f",
            json!({"targetRefs": to_route, "delay": {"fixedDelay": "1s"}}),
        )],
        vec![
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}}),
        ],
        vec![
            json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {"rootNamespace": "demo"}}),
            json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {"clusterDomain": "x.local"}}),
        ],
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Put(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    Captured(bool),
    Waypoint(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(i, j)| Op::Put(i, j)),
        3 => any::<prop::sample::Index>().prop_map(Op::Remove),
        1 => any::<bool>().prop_map(Op::Captured),
        2 => (0..3u8).prop_map(Op::Waypoint),
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
        let mut connected = 0;
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
                        engine.step(Event::Batch(Batch { changes, rejections: Vec::new() }));
                    }
                }
                Op::Captured(first) => engine.step(captured(if first { "a" } else { "b" })),
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
            let (_, mut waypoints) = engine.status().memory.recall();
            (0..connected).for_each(|_| waypoints.connect(&gate));
            let capture = engine.world.capture.clone();
            let world = World { waypoints, capture, ..World::default() };
            let objects: Vec<_> = present.values().cloned().collect();
            let fresh = Engine::new(world, batch(&objects));
            prop_assert_eq!(served(&engine.current()), served(&fresh.current()));
        }
    }
}

#[test]
fn the_first_snapshot_is_complete() {
    let engine = engine(&mesh_with_waypoint());
    assert_eq!(engine.names(Type::HttpRoute), ["HTTPRoute/demo/r"]);
    assert_eq!(engine.names(Type::MeshSettings), ["default"]);
    assert!(
        engine
            .names(Type::Authorization)
            .contains(&"culvert-system/istio_converted_static_strict".to_owned())
    );
}
