//! When a status is told, and when it is not.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::poll;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc, watch};

use super::super::class::{self, Classes};
use super::super::run::{Deployer, Heard, Settings};
use super::*;
use crate::engine::Snapshot;
use crate::source::Seen;
use crate::testing::api_server;
use crate::translate::listener::ListenerState;

/// A leader of a cluster with one gateway, and what it writes.
struct Leader {
    term: Arc<Term>,
    gateways: Store<DynamicObject>,
    gateway: DynamicObject,
    snapshots: watch::Sender<Arc<Snapshot>>,
    seen: watch::Sender<Seen>,
    written: mpsc::UnboundedReceiver<Value>,
}

fn leader() -> Leader {
    let (write, written) = mpsc::unbounded_channel();
    let client = api_server(move |head, body| {
        let path = "/apis/gateway.networking.k8s.io/v1/namespaces/demo/gateways/edge/status";
        assert_eq!(head.uri.path(), path);
        let body: Value = serde_json::from_slice(&body).unwrap();
        write.send(body["status"].clone()).unwrap();
        let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge"}});
        async move { (200, object) }
    });
    let object = |value: Value| -> DynamicObject { serde_json::from_value(value).unwrap() };
    let mut classes = Writer::new(class::resource());
    classes.apply_watcher_event(&Event::Apply(object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "culvert"}, "spec": {"controllerName": "culvert.dev/controller"}}))));
    let gateway = object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "demo", "generation": 3, "resourceVersion": "7"},
        "spec": {"gatewayClassName": "culvert", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    let mut gateways = Writer::new(resource());
    gateways.apply_watcher_event(&Event::Apply(gateway.clone()));
    let snapshots = watch::Sender::new(Arc::new(served(0)));
    let seen = watch::Sender::new(Seen::from_iter([(Kind::Gateway, 6)]));
    let settings = Settings {
        image: String::new(),
        pull_policy: String::new(),
        namespace: "culvert-system".into(),
        service: "culvert-controller".into(),
        port: 15012,
    };
    let heard = Heard {
        snapshots: snapshots.subscribe(),
        seen: seen.subscribe(),
    };
    Leader {
        term: Arc::new(Term {
            deployer: Arc::new(Deployer::new(client, settings, heard)),
            classes: Classes::new(classes.as_reader()),
            again: watch::Sender::new(()),
            progress: Mutex::new(BTreeMap::new()),
        }),
        gateways: gateways.as_reader(),
        gateway,
        snapshots,
        seen,
        written,
    }
}

/// So many routes are attached.
fn served(attached: u32) -> Snapshot {
    let listener = ListenerState {
        name: "http".into(),
        attached,
        kinds: vec![Kind::HttpRoute],
        words: Vec::new(),
    };
    let state = GatewayState {
        listeners: vec![listener],
        ..GatewayState::default()
    };
    let name = NsName::new("demo", "edge");
    Snapshot {
        gateways: [(name, Arc::new(state))].into_iter().collect(),
        ..Snapshot::default()
    }
}

fn deployed() -> Progress {
    Progress::Deployed {
        addresses: vec![json!({"type": "IPAddress", "value": "203.0.113.7"})],
        missing: Vec::new(),
        ready: 1,
        replicas: 1,
    }
}

#[tokio::test]
async fn nothing_is_said_of_a_generation_that_is_not_served_yet() {
    let mut leader = leader();
    let mut telling = pin!(leader.term.tell(&leader.gateway, Role::Gateway, deployed()));
    assert!(poll!(&mut telling).is_pending());
    assert!(leader.written.try_recv().is_err());
    leader.snapshots.send_replace(Arc::new(served(2)));
    leader
        .seen
        .send_replace(Seen::from_iter([(Kind::Gateway, 7)]));
    telling.await.unwrap();
    let status = leader.written.try_recv().unwrap();
    assert_eq!(status["listeners"][0]["attachedRoutes"], 2);
    assert_eq!(status["conditions"][1]["status"], "True");
    assert_eq!(status["conditions"][1]["observedGeneration"], 3);
}

#[tokio::test]
async fn what_is_served_is_told_without_deploying_anew() {
    let mut leader = leader();
    leader
        .seen
        .send_replace(Seen::from_iter([(Kind::Gateway, 7)]));
    let following = follow(Arc::clone(&leader.term), leader.gateways.clone());
    let steps = async {
        // Before it was brought in line nothing is known of it.
        leader.snapshots.send_replace(Arc::new(served(1)));
        let object = leader.gateway.clone();
        let told = leader.term.tell(&object, Role::Gateway, deployed()).await;
        told.unwrap();
        let first = leader.written.recv().await.unwrap();
        assert_eq!(first["listeners"][0]["attachedRoutes"], 1);
        leader.snapshots.send_replace(Arc::new(served(5)));
        loop {
            let status = leader.written.recv().await.unwrap();
            if status["listeners"][0]["attachedRoutes"] == 5 {
                break;
            }
        }
    };
    tokio::select! {
        () = following => panic!("it ended"),
        () = steps => {}
    }
}

#[test]
fn what_differs_between_two_snapshots() {
    let name = |name: &str| NsName::new("demo", name);
    let state = || Arc::new(GatewayState::default());
    let before: States = [
        (name("a"), state()),
        (name("b"), state()),
        (name("c"), state()),
    ]
    .into_iter()
    .collect();
    assert_eq!(changed(&before, &before.clone()), []);
    let mut now = before.clone();
    now.remove(&name("a"));
    now.insert(name("b"), state());
    now.insert(name("d"), state());
    assert_eq!(changed(&before, &now), [name("a"), name("b"), name("d")]);
    assert_eq!(changed(&States::new(), &before).len(), 3);
}
