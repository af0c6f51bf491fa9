//! Records of pods: endpoints, ports, health, tunnel, guards.

use culvert_proto::node::PodState;
use serde_json::{Value, json};

use super::*;
use crate::model::NsName;
use crate::testing::{self, culvert, namespace, pod_value, service, waypoint, world};

const WEB: &str = "demo/web.demo.svc.cluster.local";

fn ambient() -> Value {
    namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"}))
}

fn translated(world: &World, name: &str) -> Translated {
    of_pod(
        world,
        world.cache.pods.get(&NsName::new("demo", name)).unwrap(),
    )
}

fn record(world: &World, name: &str) -> Workload {
    match translated(world, name).resource.unwrap().message {
        Message::Workload(workload) => *workload,
        other => panic!("{other:?}"),
    }
}

fn ports(workload: &Workload, service: &str) -> Option<Vec<(u32, u32)>> {
    let list = workload.services.get(service)?;
    Some(
        list.ports
            .iter()
            .map(|p| (p.service_port, p.target_port))
            .collect(),
    )
}

#[test]
fn a_pod_is_an_endpoint_of_the_services_that_select_it() {
    let mut named = service("demo", "named", "web", "10.96.0.2");
    named["spec"]["ports"] = json!([{"name": "a", "port": 1, "targetPort": "http"}, {"name": "b", "port": 2, "targetPort": "none"},
                                    {"name": "c", "port": 3, "protocol": "UDP"}]);
    let mut pod = pod_value("demo", "web", "10.0.0.1");
    pod["spec"]["containers"] =
        json!([{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]);
    let world = world(&[
        pod,
        service("demo", "web", "web", "10.96.0.1"),
        named,
        service("demo", "else", "else", "10.96.0.3"),
        service("other", "web", "web", "10.96.0.4"),
    ]);
    let web = record(&world, "web");
    assert_eq!(ports(&web, WEB), Some(vec![(80, 8080)]));
    assert_eq!(
        ports(&web, "demo/named.demo.svc.cluster.local"),
        Some(vec![(1, 8080)])
    );
    assert_eq!(web.services.len(), 2);
    assert_eq!(web.uid, "Kubernetes//Pod/demo/web");
    assert_eq!(
        (web.trust_domain.as_str(), web.service_account.as_str()),
        ("cluster.local", "web")
    );
}

#[test]
fn slices_count_instead_of_the_selector() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s", "namespace": "demo", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 9090}],
        "endpoints": [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                      {"addresses": ["10.0.0.4"], "targetRef": {"kind": "Pod", "name": "named"}},
                      {"addresses": ["192.0.2.1"]}]});
    let world = world(&[
        service("demo", "web", "web", "10.96.0.1"),
        slice,
        pod_value("demo", "web", "10.0.0.1"),
        pod_value("demo", "bare", "10.0.0.2"),
        pod_value("demo", "unready", "10.0.0.3"),
        pod_value("demo", "named", "10.0.0.4"),
    ]);
    assert_eq!(ports(&record(&world, "web"), WEB), None);
    assert_eq!(ports(&record(&world, "bare"), WEB), Some(vec![(80, 9090)]));
    assert_eq!(ports(&record(&world, "unready"), WEB), None);
    assert_eq!(ports(&record(&world, "named"), WEB), Some(vec![(80, 9090)]));
    let outside = of_endpoint(&world, &"demo".into(), "192.0.2.1".parse().unwrap()).unwrap();
    let Message::Workload(outside) = outside.message else {
        panic!()
    };
    assert_eq!(ports(&outside, WEB), Some(vec![(80, 9090)]));
    assert!(of_endpoint(&world, &"demo".into(), "10.0.0.2".parse().unwrap()).is_none());
}

#[test]
fn health_and_the_end() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod_value("demo", "web", "10.0.0.1");
        change(&mut pod);
        let world = world(&[pod, service("demo", "web", "web", "10.96.0.1")]);
        let translated = translated(&world, "web");
        translated.resource.map(|resource| match resource.message {
            Message::Workload(w) => (
                w.status == i32::from(WorkloadStatus::Healthy),
                w.services.len(),
            ),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(with(&|_| ()), Some((true, 1)));
    let ready = |status: &'static str| {
        move |pod: &mut Value| {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": status}]);
        }
    };
    assert_eq!(with(&ready("True")), Some((true, 1)));
    assert_eq!(with(&ready("False")), Some((false, 1)));
    assert_eq!(
        with(&|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
        Some((true, 0))
    );
    assert_eq!(with(&|pod| pod["status"]["phase"] = json!("Failed")), None);
}

#[test]
fn those_that_are_leaving_serve_where_nobody_else_does() {
    let endpoint = |pod: &str, ready: bool, serving: bool, terminating: bool| {
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": pod}, "conditions": conditions})
    };
    let (leaving, gone) = (("web", false, true, true), ("web", false, false, true));
    let (stays, starts) = (("api", true, true, false), ("api", false, false, false));
    for (endpoints, expected) in [
        (vec![leaving], true),
        (vec![leaving, starts], true),
        (vec![leaving, stays], false),
        (vec![gone], false),
        (vec![("web", false, true, false)], false),
    ] {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(pod, ready, serving, terminating)| endpoint(pod, *ready, *serving, *terminating))
            .collect();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "demo", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints});
        let mut pod = pod_value("demo", "web", "10.0.0.1");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let world = world(&[pod, service("demo", "web", "web", "10.96.0.1"), slice]);
        let record = record(&world, "web");
        assert_eq!(!record.services.is_empty(), expected, "{endpoints:?}");
        assert_eq!(record.status, i32::from(WorkloadStatus::Healthy));
    }
}

#[test]
fn hbone_needs_enrolment_and_capture() {
    let mut world = world(&[ambient(), pod_value("demo", "web", "10.0.0.1")]);
    let name = NsName::new("demo", "web");
    let tunnel = |world: &World| record(world, "web").tunnel_protocol;
    assert_eq!(tunnel(&world), i32::from(TunnelProtocol::None));
    world.capture.said(
        &name,
        PodState {
            capture: "captured".into(),
            ..PodState::default()
        },
    );
    let pod = world.cache.pods.get(&name).unwrap().clone();
    world.capture.settle(&pod, true);
    assert_eq!(tunnel(&world), i32::from(TunnelProtocol::Hbone));
    world.put(&testing::object(&namespace("demo", json!({}))));
    assert_eq!(tunnel(&world), i32::from(TunnelProtocol::None));
}

#[test]
fn two_pods_of_one_address_are_served_under_none() {
    let mut world = world(&[
        pod_value("demo", "web", "10.0.0.1"),
        pod_value("demo", "api", "10.0.0.1"),
    ]);
    let both = ["web", "api"].map(|name| translated(&world, name));
    for one in both {
        assert!(one.resource.is_none());
        assert_eq!(one.findings[0].reason, "AddressConflict");
    }
    let mut ended = pod_value("demo", "api", "10.0.0.1");
    ended["status"]["phase"] = json!("Succeeded");
    world.put(&testing::object(&ended));
    assert!(translated(&world, "web").resource.is_some());
}

#[test]
fn an_address_that_is_used_again_belongs_to_its_new_pod() {
    let made = |name: &str, second: u8| {
        let mut pod = pod_value("demo", name, "10.0.0.1");
        pod["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{second}Z"));
        pod
    };
    let (mut old, new) = (made("old", 1), made("new", 2));
    let mut world = world(&[old.clone()]);
    assert!(translated(&world, "old").resource.is_some());
    // The one before has not been taken out of the API yet, or not even begun to be.
    world.put(&testing::object(&new));
    for deleting in [false, true] {
        if deleting {
            old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:03Z");
            world.put(&testing::object(&old));
        }
        let (old, new) = (translated(&world, "old"), translated(&world, "new"));
        assert!(
            old.resource.is_none() && new.resource.is_some(),
            "{deleting}"
        );
        assert!(old.findings.is_empty() && new.findings.is_empty());
    }
    // Of two that were made in one second, the one that is being deleted gives way.
    world.put(&testing::object(&made("new", 1)));
    assert!(translated(&world, "new").resource.is_some());
}

#[test]
fn the_names_of_telemetry() {
    let owned = |kind: &str, name: &str| {
        let mut pod = pod_value("demo", "web", "10.0.0.1");
        pod["metadata"]["labels"] = json!({"version": "v1"});
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "1", "controller": true}]);
        let record = record(&world(&[pod]), "web");
        let kind = record.workload_type();
        let (name, canonical) = (record.workload_name, record.canonical_name);
        (name, kind, canonical, record.canonical_revision)
    };
    use WorkloadType::{Cronjob, Deployment, Job};
    assert_eq!(
        owned("ReplicaSet", "web-6d4cf"),
        ("web".into(), Deployment, "web".into(), "v1".into())
    );
    assert_eq!(owned("Job", "backup-29387400").1, Cronjob);
    assert_eq!(owned("Job", "backup-29387400").0, "backup");
    assert_eq!(owned("Job", "migrate").1, Job);
    assert_eq!(owned("StatefulSet", "db").0, "db");
}

/// The policies that a pod names, for a service with or without a waypoint and a policy for it.
fn guarded(objects: &[Value], programmed: bool) -> Vec<String> {
    let mut all = vec![ambient(), pod_value("demo", "web", "10.0.0.1")];
    all.extend_from_slice(objects);
    let mut world = world(&all);
    if programmed {
        let gate = NsName::new("demo", "gate");
        world
            .waypoints
            .program(&gate, &Consumer::Service(NsName::new("demo", "web")));
        world
            .waypoints
            .program(&gate, &Consumer::Pod(NsName::new("demo", "web")));
    }
    let translated = translated(&world, "web");
    let names = translated.guard.iter().map(Guard::name);
    let Some(Message::Workload(record)) = translated.resource.map(|r| r.message) else {
        panic!()
    };
    let named: Vec<_> = record
        .authorization_policies
        .iter()
        .filter(|n| n.contains("culvert_admit"))
        .cloned()
        .collect();
    assert_eq!(named, names.collect::<Vec<_>>());
    named
}

#[test]
fn a_policy_for_a_service_leaves_only_its_waypoint_in() {
    let mut web = service("demo", "web", "web", "10.96.0.1");
    let gate = waypoint("demo", "gate", "10.0.0.9");
    let target = |kind: &str, name: &str| {
        let group = if kind == "Service" {
            ""
        } else {
            "gateway.networking.k8s.io"
        };
        culvert(
            "AuthorizationPolicy",
            "demo",
            "p",
            json!({"targetRefs": [{"group": group, "kind": kind, "name": name}]}),
        )
    };
    let for_service = target("Service", "web");
    let only = vec!["culvert-system/culvert_admit_only_demo.gate".to_owned()];
    let nobody = vec!["culvert-system/culvert_admit_nobody".to_owned()];
    assert_eq!(
        guarded(&[web.clone(), gate.clone()], true),
        Vec::<String>::new()
    );
    assert_eq!(
        guarded(&[web.clone(), gate.clone(), for_service.clone()], false),
        nobody
    );
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    assert_eq!(
        guarded(&[web.clone(), gate.clone()], true),
        Vec::<String>::new()
    );
    // At once, before the waypoint is programmed.
    for programmed in [false, true] {
        assert_eq!(
            guarded(
                &[web.clone(), gate.clone(), for_service.clone()],
                programmed
            ),
            only
        );
        assert_eq!(
            guarded(
                &[web.clone(), gate.clone(), target("Gateway", "gate")],
                programmed
            ),
            only
        );
    }
    assert_eq!(guarded(&[web.clone(), for_service], false), nobody);
    assert_eq!(
        guarded(&[web, gate, target("Service", "else")], true),
        Vec::<String>::new()
    );
}

#[test]
fn a_waypoint_for_workloads_is_the_only_way_in_once_it_is_programmed() {
    let mut gate = waypoint("demo", "gate", "10.0.0.9");
    gate["metadata"]["labels"] = json!({"culvert.dev/waypoint-for": "workload"});
    let mut pod = pod_value("demo", "web", "10.0.0.1");
    pod["metadata"]["labels"]["culvert.dev/use-waypoint"] = json!("gate");
    assert_eq!(
        guarded(&[gate.clone(), pod.clone()], false),
        Vec::<String>::new()
    );
    assert_eq!(
        guarded(&[gate, pod.clone()], true),
        ["culvert-system/culvert_admit_only_demo.gate"]
    );
    assert_eq!(
        guarded(&[pod], true),
        ["culvert-system/culvert_admit_nobody"]
    );
}
