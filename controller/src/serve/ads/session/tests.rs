//! Who is told what, in which order, and what is told again after a reconnect.

use culvert_proto::ads::Status;
use serde_json::{Value, json};

mod property;

use super::*;
use crate::engine::tests::{batch, engine};
use crate::engine::{Component, Engine, Event};
use crate::model::NsName;
use crate::source::{Batch, Change};
use crate::testing::{culvert, namespace, object, pod_value, service, waypoint};

fn node() -> Client {
    Client::Node("n1".into())
}

fn subscribe(kind: Type) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &Response) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..subscribe(response.kind)
    }
}

fn snapshot(engine: &Engine) -> Arc<Snapshot> {
    engine.snapshots().borrow().clone()
}

/// `Type +NAME... -NAME...`
fn text(response: &Response) -> String {
    let mut words = vec![response.kind.to_string()];
    words.extend(
        response
            .delta
            .resources
            .iter()
            .map(|resource| format!("+{}", resource.name)),
    );
    words.extend(response.delta.removed.iter().map(|name| format!("-{name}")));
    words.join(" ")
}

/// A session that has taken all it subscribed to.
fn settled(client: Client, snapshot: &Snapshot, kinds: &[Type]) -> Session {
    let mut session = Session::new(client, false);
    for kind in kinds {
        let (_, response) = session.request(snapshot, subscribe(*kind)).unwrap();
        take(&mut session, snapshot, &[response.unwrap()]);
    }
    assert!(session.is_settled());
    session
}

fn take(session: &mut Session, snapshot: &Snapshot, responses: &[Response]) {
    for response in responses {
        let (answer, more) = session.request(snapshot, ack(response)).unwrap();
        assert_eq!(
            answer,
            Some(Answer {
                kind: response.kind,
                error: None
            })
        );
        assert!(more.is_none());
    }
}

fn pushed(session: &mut Session, snapshot: &Snapshot) -> Vec<String> {
    let responses = session.push(snapshot);
    take(session, snapshot, &responses);
    responses.iter().map(text).collect()
}

fn remove(value: &Value) -> Event {
    let changes = vec![Change::Remove(object(value).key())];
    Event::Batch(Batch {
        changes,
        ..Batch::default()
    })
}

fn demo() -> Vec<Value> {
    vec![
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        service("demo", "a", "a", "10.96.0.1"),
    ]
}

#[test]
fn a_policy_comes_before_the_addresses_that_name_it_and_goes_after_them() {
    let mut engine = engine(&demo());
    // Subscribed to in the other order.
    let mut session = settled(
        node(),
        &snapshot(&engine),
        &[Type::Address, Type::Authorization],
    );
    let policy = culvert(
        "AuthorizationPolicy",
        "demo",
        "p",
        json!({"selector": {"matchLabels": {"app": "a"}}}),
    );
    engine.step(Event::Batch(batch(std::slice::from_ref(&policy))));
    let expected = ["Authorization +demo/p", "Address +Kubernetes//Pod/demo/a"];
    assert_eq!(pushed(&mut session, &snapshot(&engine)), expected);
    engine.step(remove(&policy));
    let expected = ["Address +Kubernetes//Pod/demo/a", "Authorization -demo/p"];
    assert_eq!(pushed(&mut session, &snapshot(&engine)), expected);
}

#[test]
fn the_same_holds_for_what_may_leave_the_mesh() {
    let mut engine = engine(&demo());
    let mut session = settled(
        node(),
        &snapshot(&engine),
        &[Type::Address, Type::EgressPolicy],
    );
    let policy = culvert("EgressPolicy", "demo", "p", json!({}));
    engine.step(Event::Batch(batch(std::slice::from_ref(&policy))));
    let expected = ["EgressPolicy +demo/p", "Address +Kubernetes//Pod/demo/a"];
    assert_eq!(pushed(&mut session, &snapshot(&engine)), expected);
    engine.step(remove(&policy));
    let expected = ["Address +Kubernetes//Pod/demo/a", "EgressPolicy -demo/p"];
    assert_eq!(pushed(&mut session, &snapshot(&engine)), expected);
}

#[test]
fn only_what_changed_is_sent() {
    let mut engine = engine(&demo());
    let mut session = settled(
        node(),
        &snapshot(&engine),
        &[Type::Address, Type::MeshSettings],
    );
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        Vec::<String>::new()
    );
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.2")])));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address +Kubernetes//Pod/demo/b"]
    );
    // Another line of the same file, or the same text once more, is no change.
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.2")])));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        Vec::<String>::new()
    );
    engine.step(remove(&pod_value("demo", "b", "10.0.0.2")));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address -Kubernetes//Pod/demo/b"]
    );
}

#[test]
fn changes_gather_while_a_client_has_not_answered() {
    let mut engine = engine(&demo());
    let mut session = settled(node(), &snapshot(&engine), &[Type::Address]);
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.2")])));
    let first = session.push(&snapshot(&engine));
    assert!(!session.is_settled());
    for address in ["10.0.0.3", "10.0.0.4", "10.0.0.5"] {
        engine.step(Event::Batch(batch(&[pod_value("demo", "b", address)])));
    }
    take(&mut session, &snapshot(&engine), &first);
    assert!(session.is_settled());
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address +Kubernetes//Pod/demo/b"]
    );
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        Vec::<String>::new()
    );
}

#[test]
fn a_client_that_comes_back_gets_the_difference() {
    let mut engine = engine(&demo());
    engine.step(Event::Batch(batch(&[
        pod_value("demo", "b", "10.0.0.2"),
        pod_value("demo", "c", "10.0.0.3"),
    ])));
    let before = snapshot(&engine).all(Type::Address);
    let mut has: Vec<(String, String)> = before
        .values()
        .map(|resource| (resource.name.to_string(), resource.version.to_string()))
        .collect();
    has.push(("Kubernetes//Pod/demo/long-gone".into(), "x".into()));
    has.iter_mut()
        .filter(|(name, _)| name.ends_with("/c"))
        .for_each(|(_, version)| version.clear());
    engine.step(Event::Batch(batch(&[
        pod_value("demo", "b", "10.0.0.9"),
        pod_value("demo", "d", "10.0.0.4"),
    ])));
    let mut session = Session::new(node(), false);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: has.into_iter().collect(),
        ..subscribe(Type::Address)
    };
    let (_, response) = session.request(&snapshot(&engine), request).unwrap();
    let mut words: Vec<_> = text(&response.unwrap())
        .split(' ')
        .map(str::to_owned)
        .collect();
    words.sort();
    assert_eq!(
        words,
        [
            "+Kubernetes//Pod/demo/b",
            "+Kubernetes//Pod/demo/c",
            "+Kubernetes//Pod/demo/d",
            "-Kubernetes//Pod/demo/long-gone",
            "Address"
        ]
    );
}

#[test]
fn the_first_answer_comes_even_if_it_is_empty() {
    let engine = engine(&[]);
    let mut session = Session::new(node(), false);
    let (_, response) = session
        .request(&snapshot(&engine), subscribe(Type::Address))
        .unwrap();
    assert_eq!(text(&response.unwrap()), "Address");
}

#[test]
fn a_node_sees_its_own_pods_and_policies_only() {
    let mut elsewhere = pod_value("demo", "b", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = json!("n2");
    let strict = |app: &str| {
        let spec = json!({"selector": {"matchLabels": {"app": app}}});
        culvert("AuthorizationPolicy", "demo", app, spec)
    };
    let mut objects = demo();
    objects.extend([elsewhere, strict("a"), strict("b")]);
    let engine = engine(&objects);
    let seen = |client: &Client, kind| {
        let (_, response) = Session::new(client.clone(), false)
            .request(&snapshot(&engine), subscribe(kind))
            .unwrap();
        text(&response.unwrap())
    };
    for (name, pod) in [("n1", "a"), ("n2", "b")] {
        let client = Client::Node(name.into());
        assert_eq!(
            seen(&client, Type::Pod),
            format!("Pod +Kubernetes//Pod/demo/{pod}")
        );
        assert_eq!(
            seen(&client, Type::Authorization),
            format!("Authorization +demo/{pod}")
        );
        assert_eq!(seen(&client, Type::Address).matches('+').count(), 3);
    }
    let stranger = Client::Node("n3".into());
    assert_eq!(seen(&stranger, Type::Pod), "Pod");
    assert_eq!(seen(&stranger, Type::Authorization), "Authorization");
    assert_eq!(seen(&stranger, Type::HttpRoute), "HttpRoute");
    let waypoint = Client::Waypoint(NsName::new("demo", "none"));
    assert_eq!(seen(&waypoint, Type::Address), "Address");
    assert_eq!(seen(&waypoint, Type::Pod), "Pod");
}

#[test]
fn a_refusal_is_reported_and_not_repeated() {
    let mut engine = engine(&demo());
    let mut session = settled(node(), &snapshot(&engine), &[Type::Address]);
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.2")])));
    let responses = session.push(&snapshot(&engine));
    let error_detail = Some(Status {
        code: 3,
        message: "1 rejected: b".into(),
        details: Vec::new(),
    });
    let nack = DeltaDiscoveryRequest {
        error_detail,
        ..ack(&responses[0])
    };
    let (answer, _) = session.request(&snapshot(&engine), nack.clone()).unwrap();
    assert_eq!(
        answer,
        Some(Answer {
            kind: Type::Address,
            error: Some("1 rejected: b".into())
        })
    );
    assert!(session.is_settled() && !session.has_taken(&[Type::Address]));
    assert_eq!(session.push(&snapshot(&engine)).len(), 0);
    // The same words again answer nothing.
    assert_eq!(session.request(&snapshot(&engine), nack).unwrap().0, None);
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.3")])));
    assert_eq!(pushed(&mut session, &snapshot(&engine)).len(), 1);
    assert!(session.has_taken(&[Type::Address]));
}

#[test]
fn an_answer_names_its_response_and_type() {
    let engine = engine(&demo());
    let mut session = Session::new(node(), false);
    let (_, response) = session
        .request(&snapshot(&engine), subscribe(Type::Address))
        .unwrap();
    let response = response.unwrap();
    session
        .request(&snapshot(&engine), subscribe(Type::MeshSettings))
        .unwrap();
    let wrong_type = DeltaDiscoveryRequest {
        type_url: Type::MeshSettings.url().into(),
        ..ack(&response)
    };
    assert_eq!(
        session.request(&snapshot(&engine), wrong_type).unwrap().0,
        None
    );
    let stale = DeltaDiscoveryRequest {
        response_nonce: "99".into(),
        ..ack(&response)
    };
    assert_eq!(session.request(&snapshot(&engine), stale).unwrap().0, None);
    assert!(!session.is_settled());
    for (nonce, asks) in [("", true), ("0", false)] {
        let unknown = DeltaDiscoveryRequest {
            type_url: "x".into(),
            response_nonce: nonce.into(),
            ..DeltaDiscoveryRequest::default()
        };
        assert_eq!(
            session.request(&snapshot(&engine), unknown).unwrap_err(),
            UnknownType {
                type_url: "x".into(),
                asks
            }
        );
    }
}

#[test]
fn by_name_by_alias_and_no_longer() {
    let mut engine = engine(&demo());
    // A node without pods of its own.
    let mut session = Session::new(Client::Node("n3".into()), false);
    let named = |subscribe: &[&str], unsubscribe: &[&str]| DeltaDiscoveryRequest {
        type_url: Type::Address.url().into(),
        resource_names_subscribe: subscribe.iter().map(ToString::to_string).collect(),
        resource_names_unsubscribe: unsubscribe.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let ask = |session: &mut Session, engine: &Engine, request| {
        let (_, response) = session.request(&snapshot(engine), request).unwrap();
        let text = response.as_ref().map(text);
        response
            .iter()
            .for_each(|response| take(session, &snapshot(engine), std::slice::from_ref(response)));
        text.unwrap_or_default()
    };
    // As Istio's client says that it will ask for what it needs.
    assert_eq!(ask(&mut session, &engine, named(&["*"], &["*"])), "Address");
    assert_eq!(
        ask(&mut session, &engine, named(&["/10.96.0.1"], &[])),
        "Address +Kubernetes//Pod/demo/a +demo/a.demo.svc.cluster.local",
        "a service comes with its endpoints"
    );
    assert_eq!(
        ask(
            &mut session,
            &engine,
            named(&["/10.0.0.2", "demo/a.demo.svc.cluster.local"], &[])
        ),
        "Address +Kubernetes//Pod/demo/a +demo/a.demo.svc.cluster.local -/10.0.0.2"
    );
    // What is asked for comes when it appears, the rest does not.
    engine.step(Event::Batch(batch(&[
        pod_value("demo", "b", "10.0.0.2"),
        pod_value("demo", "c", "10.0.0.3"),
    ])));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address +Kubernetes//Pod/demo/b"]
    );
    assert_eq!(
        ask(&mut session, &engine, named(&[], &["/10.0.0.2"])),
        "Address -Kubernetes//Pod/demo/b",
        "what is no longer asked for is taken back"
    );
    engine.step(remove(&pod_value("demo", "b", "10.0.0.2")));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        Vec::<String>::new()
    );
}

#[test]
fn who_asks_for_what_it_needs_gets_its_own_pods_and_waypoints_too() {
    let mut web = service("demo", "web", "b", "10.96.0.2");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let mut far = pod_value("demo", "b", "10.0.0.2");
    far["spec"]["nodeName"] = json!("n2");
    let mut objects = demo();
    objects.extend([web, far, waypoint("demo", "gate", "10.0.0.9")]);
    objects.push(pod_value("other", "x", "10.0.0.7"));
    let mut engine = engine(&objects);
    let gate = NsName::new("demo", "gate");
    engine.step(Event::Connected(
        Client::Waypoint(gate.clone()),
        Component::Waypoint,
    ));
    let scope = snapshot(&engine).waypoints[&gate].clone();
    engine.step(Event::Programmed(gate, scope));
    let ask = |names: &[&str]| DeltaDiscoveryRequest {
        resource_names_subscribe: [&["*"], names]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect(),
        resource_names_unsubscribe: vec!["*".into()],
        ..subscribe(Type::Address)
    };
    let mut session = Session::new(Client::Node("n1".into()), false);
    let (_, first) = session
        .request(
            &snapshot(&engine),
            ask(&["demo/web.demo.svc.cluster.local"]),
        )
        .unwrap();
    let first = first.unwrap();
    let own = "+Kubernetes//Pod/demo/a";
    let words = text(&first);
    for word in [
        own,
        "+demo/a.demo.svc.cluster.local",
        "+demo/web.demo.svc.cluster.local",
        "+Kubernetes//Pod/demo/b",
        "+Kubernetes/gateway.networking.k8s.io/Gateway/demo/gate",
        "+Kubernetes//Pod/other/x",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    take(&mut session, &snapshot(&engine), &[first]);
    // What it did not ask for is nothing to it, also when it changes.
    let mut stranger = pod_value("demo", "c", "10.0.0.3");
    stranger["spec"]["nodeName"] = json!("n2");
    engine.step(Event::Batch(batch(&[stranger.clone()])));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        Vec::<String>::new()
    );
    // An endpoint more of what it asked for is.
    stranger["metadata"]["labels"]["app"] = json!("b");
    engine.step(Event::Batch(batch(&[stranger])));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address +Kubernetes//Pod/demo/c"]
    );
    engine.step(remove(&pod_value("demo", "a", "10.0.0.1")));
    assert_eq!(
        pushed(&mut session, &snapshot(&engine)),
        ["Address -Kubernetes//Pod/demo/a -demo/a.demo.svc.cluster.local"]
    );
}

#[test]
fn istios_client_that_comes_back_goes_on_with_what_it_has() {
    let engine = engine(&demo());
    let uid = "Kubernetes//Pod/demo/a";
    let version = snapshot(&engine).all(Type::Address)[uid]
        .version
        .to_string();
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["*".into()],
        resource_names_unsubscribe: vec!["*".into()],
        initial_resource_versions: [(uid.to_owned(), version)].into(),
        ..subscribe(Type::Address)
    };
    let mut session = Session::new(Client::Node("n3".into()), false);
    let (_, response) = session.request(&snapshot(&engine), request).unwrap();
    assert_eq!(text(&response.unwrap()), "Address");
}

#[test]
fn clients_that_go_the_same_way_share_what_they_are_sent() {
    let mut engine = engine(&demo());
    let clients = ["n1", "n2", "n3"].map(|name| Client::Node(name.into()));
    let mut sessions = clients.map(|client| settled(client, &snapshot(&engine), &[Type::Address]));
    engine.step(Event::Batch(batch(&[pod_value("demo", "b", "10.0.0.2")])));
    let snapshot = snapshot(&engine);
    let sent = sessions.each_mut().map(|session| session.push(&snapshot));
    assert!(sent.iter().all(|responses| responses.len() == 1));
    for responses in &sent {
        assert!(Arc::ptr_eq(&responses[0].delta, &sent[0][0].delta));
    }
    // Nothing of theirs differs: nothing is even looked at.
    engine.step(Event::Connected(node(), Component::Ztunnel));
    assert!(sessions.iter_mut().all(|s| s.push(&snapshot).is_empty()));
}

#[test]
fn a_waypoint_gets_the_policy_about_itself_without_its_rules() {
    let mut web = service("demo", "a", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let mut objects = demo();
    objects.extend([
        web,
        waypoint("demo", "gate", "10.0.0.9"),
        culvert(
            "AuthorizationPolicy",
            "demo",
            "p",
            json!({"targetRefs": [{"kind": "Service", "name": "a"}]}),
        ),
    ]);
    let mut engine = engine(&objects);
    let gate = Client::Waypoint(NsName::new("demo", "gate"));
    engine.step(Event::Connected(gate.clone(), Component::Waypoint));
    let guard = "culvert-system/culvert_admit_only_demo.gate";
    let version = |client: &Client| {
        let (_, response) = Session::new(client.clone(), false)
            .request(&snapshot(&engine), subscribe(Type::Authorization))
            .unwrap();
        let resources = response.unwrap().delta.resources.clone();
        resources
            .iter()
            .find(|r| &*r.name == guard)
            .unwrap()
            .version
            .clone()
    };
    assert_ne!(version(&gate), version(&node()));
}
