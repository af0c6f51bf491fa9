//! For which Services a policy holds, what of it, and what its status says of the rest.

use serde_json::{Value, json};

use super::*;
use crate::model::Object;
use crate::testing::{culvert, object, service, world};

fn policy(name: &str, created: &str, mut spec: Value, services: &[&str]) -> Value {
    let target = |name: &&str| json!({"group": "", "kind": "Service", "name": name});
    spec["targetRefs"] = services.iter().map(target).collect();
    json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackendTrafficPolicy",
           "metadata": {"name": name, "namespace": "demo", "creationTimestamp": created}, "spec": spec})
}

/// What the policy, the first of these, becomes beside the others.
fn made(objects: &[Value]) -> (Option<TrafficPolicy>, Vec<String>) {
    let mut all = vec![
        service("demo", "web", "web", "10.96.0.1"),
        service("demo", "api", "api", "10.96.0.2"),
    ];
    all.extend_from_slice(objects);
    let world = world(&all);
    let Object::XBackendTrafficPolicy(policy) = object(&objects[0]) else {
        panic!("{:?}", objects[0]);
    };
    let (resource, findings, services) = of(&world, &policy);
    let record = resource.map(|resource| match resource.message {
        Message::TrafficPolicy(record) => *record,
        other => panic!("{other:?}"),
    });
    let told = record.iter().flat_map(|record| &record.targets).count();
    assert_eq!(services.len(), told);
    let text = |f: &Finding| {
        let condition = f.condition.as_str();
        format!("{condition} {} {}: {}", f.reason, f.field, f.message)
    };
    (record, findings.iter().map(text).collect())
}

fn targets(record: Option<&TrafficPolicy>) -> Vec<&str> {
    let targets = record.into_iter().flat_map(|record| &record.targets);
    targets.map(|target| &*target.service).collect()
}

#[test]
fn what_is_left_out_has_the_apis_defaults() {
    let (bare, findings) = made(&[policy(
        "p",
        "2026-01-01T00:00:00Z",
        json!({"retryConstraint": {}}),
        &["web"],
    )]);
    assert!(findings.is_empty(), "{findings:?}");
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let budget = RetryBudget {
        percent: 20,
        min_per_second: 10,
        interval: second(10),
        min_interval: None,
        refuse: true,
    };
    let bare = bare.unwrap();
    assert_eq!((bare.retry_budget, bare.backend), (Some(budget), true));
    assert_eq!(bare.session_persistence, None);
    let spec = json!({
        "retryConstraint": {"budget": {"percent": 0, "interval": "1m"}, "minRetryRate": {"count": 3, "interval": "30s"}},
        "sessionPersistence": {"sessionName": "s", "type": "Header", "absoluteTimeout": "1h"},
    });
    let (full, _) = made(&[policy("p", "2026-01-01T00:00:00Z", spec, &["web"])]);
    let full = full.unwrap();
    let budget = RetryBudget {
        percent: 0,
        min_per_second: 3,
        interval: second(60),
        min_interval: second(30),
        refuse: true,
    };
    assert_eq!(full.retry_budget, Some(budget));
    let session = full.session_persistence.unwrap();
    assert!(session.header && session.session_name == "s");
    assert_eq!(session.absolute_timeout, second(3600));
}

#[test]
fn the_oldest_holds_for_a_service_and_others_for_what_is_left() {
    let (old, young) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let of = |name, created, services: &[&str]| {
        policy(name, created, json!({"retryConstraint": {}}), services)
    };
    let (first, second) = (of("z", old, &["web"]), of("a", young, &["web", "api"]));
    let (record, findings) = made(&[first.clone(), second.clone()]);
    assert_eq!(
        (targets(record.as_ref()), findings),
        (vec!["demo/web.demo.svc.cluster.local"], vec![])
    );
    let (record, findings) = made(&[second, first]);
    assert_eq!(
        targets(record.as_ref()),
        ["demo/api.demo.svc.cluster.local"]
    );
    assert_eq!(
        findings,
        [
            "Accepted Conflicted spec.targetRefs[0]: XBackendTrafficPolicy demo/z is for Service demo/web already"
        ]
    );
    let twins = [of("b", old, &["web"]), of("a", old, &["web"])];
    assert!(
        made(&twins).0.is_none(),
        "of the same age the first by name"
    );
}

#[test]
fn a_traffic_policy_of_the_same_service_states_first() {
    let mine = |spec| policy("p", "2026-01-01T00:00:00Z", spec, &["api", "web"]);
    let theirs = |spec: Value| {
        let mut spec = spec;
        spec["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "web"}]);
        culvert("TrafficPolicy", "demo", "t", spec)
    };
    let (budget, session) = (
        json!({"retryConstraint": {}}),
        json!({"sessionPersistence": {}}),
    );
    let (record, findings) = made(&[mine(budget.clone()), theirs(budget.clone())]);
    assert_eq!(
        targets(record.as_ref()).len(),
        2,
        "the waypoint has the order"
    );
    assert_eq!(
        findings,
        [
            "Enforced Overridden spec.targetRefs[1]: TrafficPolicy demo/t has a retryConstraint for Service demo/web, \
          which holds instead of this one's"
        ]
    );
    assert!(made(&[mine(session), theirs(budget.clone())]).1.is_empty());
    assert!(
        made(&[mine(budget), theirs(json!({"timeouts": {"request": "1s"}}))])
            .1
            .is_empty()
    );
}

#[test]
fn services_that_are_not_there_and_other_backends() {
    let mut named = policy(
        "p",
        "2026-01-01T00:00:00Z",
        json!({"retryConstraint": {}}),
        &["none"],
    );
    let (record, findings) = made(&[named.clone()]);
    assert!(record.is_none());
    assert_eq!(
        findings,
        ["Accepted TargetNotFound spec.targetRefs[0].name: there is no Service demo/none"]
    );
    named["spec"]["targetRefs"] = json!([{"group": "example.com", "kind": "Bucket", "name": "b"}]);
    let (record, findings) = made(&[named]);
    assert!(
        record.is_none() && findings.is_empty(),
        "somebody else's matter"
    );
}
