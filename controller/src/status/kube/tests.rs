//! From an agent's report to what peers are told, through an API server: on every replica alike, and never by the word
//! that one of them heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use culvert_proto::node::{PodState, Report};
use culvert_runtime::drain;
use http::Method;

use super::*;
use crate::engine::{Client as Peer, Component, Engine, Snapshot};
use crate::source::Source as _;
use crate::source::kube::Kube;
use crate::testing::{api_server, namespace, pod_value};
use crate::translate::Type;
use crate::world::{Capture, Proof, Waypoints, World};

/// A cluster with a namespace of the mesh and one pod.
#[derive(Clone)]
struct Server(Arc<Mutex<State>>);

struct State {
    version: u64,
    pod: Value,
    /// Writes fail.
    away: bool,
}

impl Server {
    fn new() -> Self {
        let mut pod = pod_value("demo", "a", "10.0.0.1");
        pod["metadata"]["uid"] = "u".into();
        pod["metadata"]["resourceVersion"] = "1".into();
        Self(Arc::new(Mutex::new(State {
            version: 1,
            pod,
            away: false,
        })))
    }

    fn away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    fn client(&self) -> Client {
        let server = self.clone();
        api_server(move |head, body| {
            let server = server.clone();
            async move { server.answer(&head, &body).await }
        })
    }

    async fn answer(&self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        let failed = |code: u16| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": "x", "code": code});
            (code, status)
        };
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        if head.method == Method::PATCH {
            assert_eq!(path, "/api/v1/namespaces/demo/pods/a/status");
            return self.patch(body).map_or_else(failed, |pod| (200, pod));
        }
        if path.contains("customresourcedefinitions") {
            return failed(404);
        }
        if query.contains("sendInitialEvents") {
            return failed(422);
        }
        let kind = path.rsplit('/').next().unwrap();
        let selected = query.contains("fieldSelector=type%3Dkubernetes.io%2Ftls");
        assert_eq!(selected, kind == "secrets", "{path}?{query}");
        if query.contains("watch=true") {
            return (200, self.next(kind, query).await);
        }
        let state = self.0.lock().unwrap();
        let mut demo = namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"}));
        demo["metadata"]["uid"] = "n".into();
        let items = match kind {
            "pods" => vec![state.pod.clone()],
            "namespaces" => vec![demo],
            _ => Vec::new(),
        };
        let version = state.version.to_string();
        (
            200,
            json!({"metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    fn patch(&self, body: &[u8]) -> Result<Value, u16> {
        let mut state = self.0.lock().unwrap();
        if state.away {
            return Err(503);
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        if patch["metadata"]["uid"] != state.pod["metadata"]["uid"] {
            return Err(409);
        }
        state.version += 1;
        let version = state.version.to_string();
        state.pod["metadata"]["resourceVersion"] = version.into();
        state.pod["status"]["conditions"] = patch["status"]["conditions"].clone();
        Ok(state.pod.clone())
    }

    /// What happened after the version that a watch begins with, when it has.
    async fn next(&self, kind: &str, query: &str) -> Value {
        let from = query
            .split('&')
            .find_map(|q| q.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        loop {
            {
                let state = self.0.lock().unwrap();
                if kind == "pods" && state.version > from {
                    return json!({"type": "MODIFIED", "object": state.pod});
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A replica, until it is dropped.
struct Replica {
    captures: Captures,
    events: mpsc::Sender<Event>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    tasks: tokio::task::JoinSet<()>,
    _drain: drain::Trigger,
}

impl Replica {
    async fn start(server: &Server) -> Self {
        let (trigger, drain) = drain::channel();
        let (mut source, book) = Kube::begin(&server.client());
        let batch = source.first(&drain).await.unwrap();
        let world = World {
            capture: Capture::by(Proof::Condition),
            waypoints: Waypoints::of_ledger(BTreeMap::new()),
            ..World::default()
        };
        let engine = Engine::new(world, batch);
        let snapshots = engine.snapshots();
        let (events, inbox) = mpsc::channel(16);
        let (batches, mut read) = mpsc::channel(1);
        let captures = Captures::default();
        let writing = captures.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(engine.run(inbox));
        tasks.spawn(source.run(batches, drain.clone()));
        tasks.spawn(writing.run(server.client(), book, "test".into(), drain));
        let engine = events.clone();
        tasks.spawn(async move {
            while let Some(batch) = read.recv().await {
                engine.send(Event::Batch(batch)).await.unwrap();
            }
        });
        Self {
            captures,
            events,
            snapshots,
            tasks,
            _drain: trigger,
        }
    }

    /// The agent's report comes in, as the node service takes it.
    async fn hears(&self, capture: &str) {
        let pods = vec![PodState {
            uid: "u".into(),
            namespace: "demo".into(),
            name: "a".into(),
            capture: capture.into(),
            ..PodState::default()
        }];
        self.captures.said(("n1", &pods));
        let report = Report {
            pods,
            ..Report::default()
        };
        let event = Event::Report(Peer::Node("n1".into()), Component::Agent, Box::new(report));
        self.events.send(event).await.unwrap();
    }

    /// The version of the pod's record.
    fn record(&self) -> String {
        let all = self.snapshots.borrow().all(Type::Address);
        all["Kubernetes//Pod/demo/a"].version.to_string()
    }

    /// Wait until it is another one; how long that took.
    async fn other_than(&self, before: &str) -> Duration {
        let began = Instant::now();
        while self.record() == before {
            assert!(began.elapsed() < Duration::from_secs(10), "nothing new");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    async fn dies(mut self) {
        self.tasks.shutdown().await;
    }
}

#[tokio::test]
async fn a_report_reaches_peers_of_every_replica_through_the_api_server() {
    let server = Server::new();
    let (one, two) = (Replica::start(&server).await, Replica::start(&server).await);
    let plain = one.record();
    assert_eq!(two.record(), plain);
    one.hears("pending").await;
    one.hears("captured").await;
    let took = one.other_than(&plain).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    two.other_than(&plain).await;
    assert_eq!(two.record(), one.record());
    assert_eq!(Replica::start(&server).await.record(), one.record());
}

#[tokio::test]
async fn what_was_heard_and_not_written_dies_with_who_heard_it_and_with_nobody_else() {
    let server = Server::new();
    server.away(true);
    let one = Replica::start(&server).await;
    let plain = one.record();
    one.hears("captured").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Nobody was told, so nobody goes back to plaintext when it dies.
    assert_eq!(one.record(), plain);
    one.dies().await;
    let next = Replica::start(&server).await;
    assert_eq!(next.record(), plain);
    next.hears("captured").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(next.record(), plain);
    // It waited for the API server, and needs no other report.
    server.away(false);
    next.other_than(&plain).await;
    let hbone = next.record();
    next.dies().await;
    assert_eq!(Replica::start(&server).await.record(), hbone);
}
