//! Who is told what of a policy, when, and what its condition says.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use serde_json::{Value, json};

use super::*;
use crate::testing::{culvert, object, pod_value, service};
use crate::translate::Type;

/// Services `web` and `api`, of the one pod that is both.
fn world(now: &str) -> World {
    let mut world = World {
        now: now.parse().unwrap(),
        ..World::default()
    };
    for value in [
        service("demo", "web", "web", "10.96.0.1"),
        service("demo", "api", "web", "10.96.0.2"),
        pod_value("demo", "web", "10.0.0.1"),
    ] {
        world.put(&object(&value));
    }
    world
}

fn policy(spec: Value) -> std::sync::Arc<Obj<FaultPolicySpec>> {
    let mut value = culvert("FaultPolicy", "demo", "f", spec);
    value["metadata"]["creationTimestamp"] = json!("2026-01-31T12:00:00Z");
    match object(&value) {
        crate::model::Object::FaultPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn to_web(more: Value) -> Value {
    let mut spec =
        json!({"targetRefs": [{"kind": "Service", "name": "web", "sectionName": "http"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

const NOON: &str = "2026-01-31T12:00:00Z";

#[test]
fn requests_go_to_waypoints_and_connections_to_ztunnels() {
    let kinds = |spec: Value| {
        let made = of(&world(NOON), &policy(spec)).resources;
        made.iter()
            .map(|made| made.message.kind())
            .collect::<Vec<_>>()
    };
    let delay = json!({"fixedDelay": "1s"});
    assert_eq!(kinds(to_web(json!({"delay": delay}))), [Type::FaultPolicy]);
    assert_eq!(
        kinds(to_web(json!({"tcp": {"reset": {}}}))),
        [Type::ConnectionFault]
    );
    assert_eq!(
        kinds(to_web(json!({"delay": delay, "tcp": {"delay": delay}}))),
        [Type::FaultPolicy, Type::ConnectionFault]
    );
}

#[test]
fn connections_are_described_by_target_or_by_workload() {
    let record = |spec: Value| {
        let made = of(&world(NOON), &policy(spec)).resources.pop().unwrap();
        match made.message {
            Message::ConnectionFault(record) => record,
            other => panic!("{other:?}"),
        }
    };
    let tcp = json!({"throttle": {"bytesPerSecond": 1000, "percentage": {"value": 12.5}},
                     "reset": {"afterBytes": 7}, "blackhole": {"percentage": {"value": 0}},
                     "delay": {"normal": {"mean": "10ms", "stdDev": "5ms", "max": "1s"}}});
    let by_target = record(to_web(json!({"tcp": tcp})));
    assert_eq!(by_target.targets.len(), 1);
    assert_eq!(
        (
            by_target.targets[0].service.as_str(),
            by_target.targets[0].port
        ),
        ("demo/web.demo.svc.cluster.local", 80)
    );
    let throttle = by_target.throttle.unwrap();
    assert_eq!(
        (throttle.per_ten_thousand, throttle.bytes_per_second),
        (1250, 1000)
    );
    let reset = by_target.reset.unwrap();
    assert_eq!((reset.per_ten_thousand, reset.after_bytes), (10_000, 7));
    assert_eq!(by_target.blackhole.unwrap().per_ten_thousand, 0);
    assert!(by_target.delay.unwrap().normal.is_some());
    assert_eq!(by_target.term, None);
    let selector = json!({"matchLabels": {"app": "web"}});
    let by_label = record(json!({"selector": selector, "tcp": tcp}));
    assert_eq!(by_label.targets, []);
    assert_eq!(by_label.workloads.len(), 1);
    let nobody = json!({"selector": {"matchLabels": {"app": "none"}}, "tcp": tcp});
    assert!(of(&world(NOON), &policy(nobody)).resources.is_empty());
}

#[test]
fn a_port_that_cannot_be_told_from_another_is_said() {
    let mut world = world(NOON);
    let mut web = service("demo", "web", "web", "10.96.0.1");
    web["spec"]["ports"] = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "alt", "port": 81, "targetPort": 8080},
        {"name": "other", "port": 82, "targetPort": 8082},
    ]);
    world.put(&object(&web));
    let said = |targets: Value| {
        let spec = json!({"targetRefs": targets, "tcp": {"reset": {}}});
        let made = of(&world, &policy(spec));
        let said = made
            .findings
            .iter()
            .map(|f| (f.reason, f.field.to_string()));
        said.collect::<Vec<_>>()
    };
    let port = |name: &str| json!({"kind": "Service", "name": "web", "sectionName": name});
    let twin = ("PortShared", "spec.targetRefs[0].sectionName".to_owned());
    assert_eq!(said(json!([port("http")])), [twin]);
    assert_eq!(said(json!([port("http"), port("alt")])), []);
    assert_eq!(said(json!([port("other")])), []);
    assert_eq!(said(json!([{"kind": "Service", "name": "web"}])), []);
}

#[test]
fn a_policy_has_its_time_and_says_so() {
    let at = |now: &str, more: Value| {
        let mut spec = to_web(json!({"abort": {"httpStatus": 503}, "duration": "10m"}));
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let made = of(&world(now), &policy(spec));
        let said: Vec<_> = made
            .findings
            .iter()
            .map(|f| {
                format!(
                    "{} {} {} {}",
                    f.condition.as_str(),
                    f.reason,
                    f.field,
                    f.message
                )
            })
            .collect();
        assert!(made.findings.iter().all(|f| !f.error));
        (made.resources.len(), said.join("; "))
    };
    let (there, nothing) = ((1, String::new()), json!({}));
    assert_eq!(at(NOON, nothing.clone()), there);
    assert_eq!(at("2026-01-31T12:09:59Z", nothing.clone()), there);
    let over = "Enforced Expired spec.duration is over since 2026-01-31T12:10:00Z";
    assert_eq!(at("2026-01-31T12:10:00Z", nothing), (0, over.into()));
    let later = json!({"startTime": "2026-01-31T13:00:00+01:00"});
    assert_eq!(at("2026-01-31T12:05:00Z", later), there);
    let later = json!({"startTime": "2026-01-31T12:30:00Z"});
    let pending = "Enforced Pending spec.startTime begins at 2026-01-31T12:30:00Z";
    assert_eq!(at(NOON, later.clone()), (0, pending.into()));
    assert_eq!(at("2026-01-31T12:35:00Z", later), there);
}

#[test]
fn the_end_is_on_the_wire_and_does_not_move_with_an_edit() {
    let end = |delay: &str| {
        let spec = to_web(json!({"delay": {"fixedDelay": delay}, "duration": "10m"}));
        let made = of(&world(NOON), &policy(spec)).resources.pop().unwrap();
        match made.message {
            Message::FaultPolicy(record) => record.term.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end("1s").not_after.unwrap().seconds, 1_769_861_400);
    assert_eq!(end("1s").lasts.unwrap().seconds, 600);
    assert_eq!(end("1s"), end("2s"));
}
