//! Who is told what, and what is remembered.

use culvert_proto::node::{PodState, Report};
use serde_json::{Value, json};

use super::*;
use crate::source::{Effect, Rejection};
use crate::testing::{culvert, namespace, object, pod_value, route, service, waypoint};
use crate::translate::Type;

pub(crate) fn batch(objects: &[Value]) -> Batch {
    let put = |value: &Value| Change::Put(object(value), Origin::default());
    Batch {
        changes: objects.iter().map(put).collect(),
        ..Batch::default()
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

    pub(super) fn current(&self) -> Arc<Snapshot> {
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

pub(crate) fn captured(pod: &str) -> Event {
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
fn a_node_is_told_of_the_egress_policies_of_its_own_pods() {
    let mut elsewhere = pod_value("demo", "b", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = json!("n2");
    let policy = |namespace: &str, app: &str| {
        let spec = json!({"selector": {"matchLabels": {"app": app}}});
        culvert("EgressPolicy", namespace, "e", spec)
    };
    let mut engine = engine(&[
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        elsewhere,
        policy("demo", "a"),
    ]);
    let told = |engine: &Engine| {
        ["n1", "n2"].map(|node| {
            let client = Client::Node(node.into());
            crate::serve::view_names(&engine.current(), &client, Type::EgressPolicy).join(" ")
        })
    };
    assert_eq!(told(&engine), ["demo/e", ""]);
    engine.step(Event::Batch(batch(&[policy("culvert-system", "b")])));
    assert_eq!(told(&engine), ["demo/e", "culvert-system/e"]);
    engine.step(Event::Batch(batch(&[policy("demo", "b")])));
    assert_eq!(told(&engine), ["", "culvert-system/e demo/e"]);
    engine.step(Event::Batch(batch(&[namespace("demo", json!({}))])));
    assert_eq!(told(&engine), ["", ""], "who is not in the mesh has none");
}

#[test]
fn a_ztunnel_that_does_not_know_egress_policies_is_named_by_them() {
    let mut engine = engine(&[
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        culvert("EgressPolicy", "demo", "e", json!({})),
        culvert("EgressPolicy", "other", "e", json!({})),
    ]);
    let client = Client::Node("n1".into());
    let answered = |kind| Event::Answered {
        client: Client::Node("n1".into()),
        component: Component::Ztunnel,
        kind,
        error: None,
    };
    let said = |engine: &Engine| {
        let status = serde_json::to_value(engine.status()).unwrap();
        let objects = status["objects"].as_array().unwrap().iter();
        let policies = objects.filter(|object| object["kind"] == "EgressPolicy");
        let enforced = policies.map(|object| {
            let conditions = object["conditions"].as_array().unwrap().iter();
            let enforced = conditions
                .clone()
                .find(|c| c["type"] == "Enforced")
                .unwrap();
            enforced["reason"].as_str().unwrap().to_owned()
        });
        enforced.collect::<Vec<_>>()
    };
    assert_eq!(
        said(&engine),
        ["Enforced", "Enforced"],
        "nobody is there yet"
    );
    engine.step(Event::Connected(client.clone(), Component::Ztunnel));
    assert_eq!(said(&engine), ["Enforced", "Enforced"]);
    engine.step(answered(Type::Address));
    assert_eq!(said(&engine), ["ProxyUnaware", "Enforced"]);
    engine.step(answered(Type::EgressPolicy));
    assert_eq!(said(&engine), ["Enforced", "Enforced"]);
    engine.step(Event::Disconnected(client.clone(), Component::Ztunnel));
    engine.step(Event::Connected(client, Component::Ztunnel));
    engine.step(answered(Type::Address));
    assert_eq!(
        said(&engine),
        ["ProxyUnaware", "Enforced"],
        "another one came"
    );
}

#[test]
fn a_node_is_told_of_faults_of_its_own_pods_connections() {
    let fault = |spec: Value| {
        let mut spec = spec;
        spec["tcp"] = json!({"reset": {}});
        culvert("FaultPolicy", "demo", "f", spec)
    };
    let mut elsewhere = pod_value("demo", "b", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = json!("n2");
    let mut engine = engine(&[
        pod_value("demo", "a", "10.0.0.1"),
        elsewhere,
        service("demo", "web", "a", "10.96.0.1"),
        fault(json!({"targetRefs": [{"kind": "Service", "name": "web"}]})),
    ]);
    let told = |engine: &Engine| {
        let nodes = &engine.current().nodes;
        ["n1", "n2"].map(|node| {
            let view = nodes.get(node).cloned().unwrap_or_default();
            view.faults
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        })
    };
    let (told_it, nothing) = (vec!["FaultPolicy/demo/f".to_owned()], Vec::new());
    assert_eq!(told(&engine), [told_it.clone(), nothing.clone()]);
    let by_label = fault(json!({"selector": {"matchLabels": {"app": "b"}}}));
    engine.step(Event::Batch(batch(&[by_label])));
    assert_eq!(told(&engine), [nothing.clone(), told_it]);
    assert!(engine.current().all(Type::FaultPolicy).is_empty());
    assert_eq!(engine.current().all(Type::ConnectionFault).len(), 1);
    let mut over = fault(json!({"selector": {"matchLabels": {"app": "b"}}, "duration": "1m"}));
    over["metadata"]["creationTimestamp"] = json!("2026-01-31T12:00:00Z");
    engine.step(Event::Batch(batch(&[over])));
    assert!(engine.current().all(Type::ConnectionFault).is_empty());
}

#[test]
fn programmed_once_acknowledged_and_remembered() {
    let mut engine = engine(&mesh_with_waypoint());
    let gate = NsName::new("demo", "gate");
    let address = |engine: &Engine| {
        let all = engine.current().all(Type::Address);
        all["demo/web.demo.svc.cluster.local"].version.clone()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.json");
    engine.set_journal(Journal::new(file.clone(), Memory::default()));
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
    // The next start, however sudden the end: what is served is on the disk.
    let memory = Memory::load(&file).unwrap();
    assert_eq!(memory, Memory::of(&engine.world));
    let world = memory.recall();
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
        ..Batch::default()
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
    let (_, batch) = crate::source::dir::Dir::read(dir.path(), &dir.path().join(".state")).unwrap();
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
