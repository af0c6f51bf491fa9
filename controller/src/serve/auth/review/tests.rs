//! Each refusal, against an API server that answers as the real one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::testing::api_server;

/// Answers by path. What is not there is 404; without any, the server is away.
fn reviewer(objects: Option<Vec<(&'static str, Value)>>) -> (Reviewer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let client = api_server(move |head, body| {
        counter.fetch_add(1, Ordering::Relaxed);
        let objects = objects.clone();
        async move {
            let path = head.uri.path();
            if path.ends_with("/tokenreviews") {
                let review: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(review["spec"]["audiences"], json!(["culvert-ca"]));
            }
            let found = objects.as_ref().and_then(|objects| {
                let found = objects.iter().find(|(known, _)| *known == path);
                found.map(|(_, value)| value.clone())
            });
            match (&objects, found) {
                (_, Some(value)) => (200, value),
                (Some(_), None) => (404, failure(404)),
                (None, None) => (500, failure(500)),
            }
        }
    });
    (Reviewer::new(client, "culvert-system".into()), asked)
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": if code == 404 { "NotFound" } else { "InternalError" }, "code": code})
}

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const PODS: &str = "/api/v1/namespaces/demo/pods/gate-1";
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/demo/gateways/gate";

fn review(account: &str, extra: &Value) -> (&'static str, Value) {
    let user = json!({"username": format!("system:serviceaccount:{account}"), "extra": extra});
    let status = json!({"authenticated": true, "audiences": ["culvert-ca"], "user": user});
    (
        REVIEWS,
        json!({"spec": {}, "metadata": {}, "status": status}),
    )
}

fn on_node() -> Value {
    json!({NODE: ["n1"], POD: ["gate-1"], POD_UID: ["u1"]})
}

fn pod(uid: &str, label: &str) -> (&'static str, Value) {
    let metadata =
        json!({"name": "gate-1", "namespace": "demo", "uid": uid, "labels": {GATEWAY: label}});
    (
        PODS,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
    )
}

fn gateway(class: &str) -> (&'static str, Value) {
    let spec = json!({"gatewayClassName": class});
    (
        GATEWAYS,
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gate"}, "spec": spec}),
    )
}

async fn verify(objects: Vec<(&'static str, Value)>) -> Result<Client, Denial> {
    reviewer(Some(objects)).0.verify("a.b.c").await
}

#[tokio::test]
async fn those_who_are_let_in() {
    for account in [
        "culvert-system:culvert-agent",
        "culvert-system:culvert-ztunnel",
    ] {
        let client = verify(vec![review(account, &on_node())]).await;
        assert_eq!(client, Ok(Client::Node("n1".into())));
    }
    for class in ["culvert-waypoint", "culvert"] {
        let objects = vec![
            review("demo:gate", &on_node()),
            pod("u1", "gate"),
            gateway(class),
        ];
        let waypoint = NsName::new("demo", "gate");
        assert_eq!(verify(objects).await, Ok(Client::Waypoint(waypoint)));
    }
}

async fn refused(name: &str, objects: Vec<(&'static str, Value)>, reason: &str) {
    match verify(objects).await {
        Err(Denial::Refused(text)) => assert!(text.contains(reason), "{name}: {text}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn tokens_that_are_good_for_nothing() {
    let with = |pointer: &str, value: Value| {
        let mut review = review("culvert-system:culvert-agent", &on_node());
        *review.1.pointer_mut(pointer).unwrap() = value;
        vec![review]
    };
    let unknown = "does not know the token";
    let audience = "not for audience culvert-ca";
    let node = "bound to no node";
    let none = vec![(REVIEWS, json!({"spec": {"token": ""}, "metadata": {}}))];
    refused("no status", none, unknown).await;
    for (name, pointer, value, reason) in [
        ("not authenticated", "authenticated", json!(false), unknown),
        (
            "another audience",
            "audiences",
            json!(["istio-ca"]),
            audience,
        ),
        ("no audience", "audiences", json!([]), audience),
        (
            "a user",
            "user/username",
            json!("a"),
            "\"a\" is no service account",
        ),
        ("no node", "user/extra", json!({}), node),
        ("an empty node", "user/extra", json!({NODE: [""]}), node),
        ("two nodes", "user/extra", json!({NODE: ["n1", "n2"]}), node),
    ] {
        refused(name, with(&format!("/status/{pointer}"), value), reason).await;
    }
    let elsewhere = vec![review("demo:culvert-agent", &on_node())];
    refused("an agent of elsewhere", elsewhere, "is gone").await;
    let (reviewer, asked) = reviewer(Some(vec![]));
    let long = reviewer.verify(&"x".repeat(LONGEST + 1)).await;
    assert_eq!(long, Err("the token is too long".into()));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn pods_that_are_no_waypoints() {
    let gate = || review("demo:gate", &on_node());
    let good = || gateway("culvert-waypoint");
    let (gone, label) = ("gate-1 is gone", "demo/gate is none of");
    let class = "no Gateway demo/gate of a class of ours";
    let unbound = review("demo:gate", &json!({NODE: ["n1"]}));
    for (name, objects, reason) in [
        (
            "no pod",
            vec![unbound, pod("u1", "gate"), good()],
            "bound to no pod",
        ),
        ("a pod that is gone", vec![gate(), good()], gone),
        (
            "another pod of its name",
            vec![gate(), pod("u2", "gate"), good()],
            gone,
        ),
        (
            "another's label",
            vec![gate(), pod("u1", "other"), good()],
            label,
        ),
        ("no gateway", vec![gate(), pod("u1", "gate")], class),
        (
            "another class",
            vec![gate(), pod("u1", "gate"), gateway("nginx")],
            class,
        ),
    ] {
        refused(name, objects, reason).await;
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_refuses_nobody_for_good() {
    let (reviewer, _) = reviewer(None);
    assert!(matches!(
        reviewer.verify("a.b.c").await,
        Err(Denial::Unknown(_))
    ));
}

#[tokio::test]
async fn the_server_is_not_asked_again_for_a_moment() {
    let claims = URL_SAFE_NO_PAD.encode(json!({"exp": u32::MAX}).to_string());
    let token = format!("a.{claims}.c");
    let (reviewer, asked) = reviewer(Some(vec![review(
        "culvert-system:culvert-agent",
        &on_node(),
    )]));
    for _ in 0..3 {
        assert_eq!(reviewer.verify(&token).await, Ok(Client::Node("n1".into())));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Another token is another question.
    reviewer.verify("d.e.f").await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}
