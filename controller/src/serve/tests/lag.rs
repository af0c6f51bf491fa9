//! A client that comes from one replica to another that is behind it: what it has stays, until the other has caught up.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use culvert_identity::TrustDomain;
use culvert_identity::ca::{Root, ServerNames};
use culvert_identity::server_tls::Acceptor;
use http::{Request, Response};
use kube::client::Body;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::engine::{Engine, Snapshot};
use crate::serve::{Authenticator, Context};
use crate::source::kube::{CatchUp, Kube};
use crate::world::World;

/// What an API server has, and all that ever happened to that.
#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<(String, String), Value>,
    events: Vec<(String, Value)>,
}

impl State {
    fn happened(&mut self, plural: &str, kind: &str, mut object: Value) -> Value {
        let version = (self.events.len() + 1).to_string();
        object["metadata"]["resourceVersion"] = version.into();
        let event = json!({"type": kind, "object": object.clone()});
        self.events.push((plural.into(), event));
        object
    }

    fn bookmark(&self) -> Value {
        let version = self.events.len().to_string();
        json!({"type": "BOOKMARK", "object": {"kind": "X", "apiVersion": "v1", "metadata": {
            "resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}}}})
    }

    fn of(&self, plural: &str) -> Vec<Value> {
        let all = self.objects.iter().filter(|((of, _), _)| of == plural);
        all.map(|(_, object)| object.clone()).collect()
    }
}

/// One replica's way to it.
#[derive(Clone, Default)]
struct Link(Arc<Faults>);

#[derive(Default)]
struct Faults {
    /// Watches say nothing.
    stalled: AtomicBool,
    /// Lists fail.
    away: AtomicBool,
    /// How often it was asked where the pods stand.
    asked: AtomicUsize,
}

impl Cluster {
    fn demo() -> Self {
        let cluster = Self::default();
        let demo = namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"}));
        cluster.put("namespaces", demo);
        cluster.put("pods", pod_value("demo", "a", "10.0.0.1"));
        cluster.put("pods", pod_value("demo", "b", "10.0.0.2"));
        cluster
    }

    fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.0.lock().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["uid"] = name.as_str().into();
        let object = state.happened(plural, "ADDED", object);
        state.objects.insert((plural.into(), name), object);
    }

    fn delete(&self, plural: &str, name: &str) {
        let mut state = self.0.lock().unwrap();
        let object = state.objects.remove(&(plural.into(), name.into())).unwrap();
        state.happened(plural, "DELETED", object);
    }

    fn client(&self, link: &Link) -> kube::Client {
        let (cluster, link) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (cluster, link) = (cluster.clone(), link.clone());
            async move {
                let (code, lines) = cluster.answer(&link, request.uri()).await;
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                let body = Body::from(lines.join("\n").into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, link: &Link, uri: &http::Uri) -> (u16, Vec<Value>) {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let plural = path.rsplit('/').next().unwrap();
        if path.contains("customresourcedefinitions") {
            let versions =
                ["v1", "v1beta1", "v1alpha1"].map(|name| json!({"name": name, "served": true}));
            return (200, vec![json!({"spec": {"versions": versions}})]);
        }
        let selected = query.contains("fieldSelector=type%3Dkubernetes.io%2Ftls");
        assert_eq!(selected, plural == "secrets", "{path}?{query}");
        if query.contains("sendInitialEvents") {
            let state = self.0.lock().unwrap();
            let all = state.of(plural).into_iter();
            let added = all.map(|object| json!({"type": "ADDED", "object": object}));
            return (200, added.chain([state.bookmark()]).collect());
        }
        if query.contains("watch=true") {
            return (200, self.next(link, plural, query).await);
        }
        if plural == "pods" {
            link.0.asked.fetch_add(1, Relaxed);
        }
        if link.0.away.load(Relaxed) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": "x", "code": 503});
            return (503, vec![status]);
        }
        let state = self.0.lock().unwrap();
        let version = state.events.len().to_string();
        let list = json!({"metadata": {"resourceVersion": version}, "items": state.of(plural)});
        (200, vec![list])
    }

    /// What happened after the version that a watch begins with, when it has; at the end of a short one how far it is.
    async fn next(&self, link: &Link, plural: &str, query: &str) -> Vec<Value> {
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key));
        let from: usize = value("resourceVersion=").unwrap().parse().unwrap();
        let brief = value("timeoutSeconds=") == Some("3");
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if link.0.stalled.load(Relaxed) {
                continue;
            }
            let state = self.0.lock().unwrap();
            let later = state
                .events
                .iter()
                .skip(from)
                .filter(|(of, _)| of == plural);
            let mut events: Vec<_> = later.map(|(_, event)| event.clone()).collect();
            if brief {
                events.push(state.bookmark());
            }
            if !events.is_empty() {
                return events;
            }
        }
    }
}

/// A replica, until it is dropped.
struct Replica {
    link: Link,
    controller: Controller,
    catch_up: CatchUp,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    _tasks: tokio::task::JoinSet<()>,
    _drain: drain::Trigger,
}

impl Replica {
    async fn start(cluster: &Cluster, state: &Path) -> Self {
        let (trigger, drain) = drain::channel();
        let link = Link::default();
        let client = cluster.client(&link);
        let (mut source, _book) = Kube::begin(&client);
        let batch = source.first(&drain).await.unwrap();
        let engine = Engine::new(World::default(), batch);
        let root = Root::load_or_create(state, TrustDomain::new("cluster.local").unwrap()).unwrap();
        let key = TokenKey::load_or_create(state).unwrap();
        let token = key
            .mint(Kind::Node.into(), "n1", &root.root_hash().unwrap())
            .unwrap();
        let (events, inbox) = mpsc::channel(16);
        let catch_up = source.catch_up(client, engine.seen(), drain.clone());
        let context = Context {
            authenticator: Arc::new(Authenticator::JoinTokens(key)),
            snapshots: engine.snapshots(),
            events: events.clone(),
            captures: None,
            catch_up: Some(catch_up.clone()),
            root: watch::channel(Arc::new(root.clone())).1,
            drain: drain.clone(),
        };
        let snapshots = engine.snapshots();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let controller =
            Controller::new(listener.local_addr().unwrap(), Auth::JoinToken(token)).unwrap();
        let names = ServerNames {
            dns: vec!["localhost".into()],
            ips: vec!["127.0.0.1".parse().unwrap()],
        };
        let acceptor = Arc::new(Acceptor::new(root, names).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(engine.run(inbox));
        tasks.spawn(crate::serve::run(listener, acceptor, context));
        app::follow(source, &events, &drain);
        Self {
            link,
            controller,
            catch_up,
            snapshots,
            _tasks: tasks,
            _drain: trigger,
        }
    }

    /// All that there is of a type: names and versions.
    fn all(&self, kind: Type) -> HashMap<String, String> {
        let all = self.snapshots.borrow().all(kind);
        let all = all.values();
        all.map(|served| (served.name.to_string(), served.version.to_string()))
            .collect()
    }

    /// Wait until its state satisfies `expected`.
    async fn until(&mut self, expected: impl Fn(&Snapshot) -> bool) {
        let waiting = self.snapshots.wait_for(|snapshot| expected(snapshot));
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.expect("nothing new").unwrap();
    }

    /// A client comes that has these.
    async fn meet(&self, kind: Type, has: &HashMap<String, String>) -> Stream {
        let stream = Stream::open(&self.controller).await.unwrap();
        let request = DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            initial_resource_versions: has.clone(),
            ..Default::default()
        };
        stream.requests.send(request).await.unwrap();
        stream
    }
}

fn uid(pod: &str) -> String {
    format!("Kubernetes//Pod/demo/{pod}")
}

/// Long enough for what must not come.
async fn silence(stream: &mut Stream) {
    let next = tokio::time::timeout(Duration::from_millis(600), stream.responses.message()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_does_not_know_yet_stays_until_it_has_caught_up() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::demo();
    let mut ahead = Replica::start(&cluster, state.path()).await;
    let behind = Replica::start(&cluster, state.path()).await;
    behind.link.0.stalled.store(true, Relaxed);
    // Both a new policy and a pod's record that names it, and pods.
    let about_a = json!({"selector": {"matchLabels": {"app": "a"}}});
    let policy = culvert("AuthorizationPolicy", "demo", "p", about_a);
    cluster.put("authorizationpolicies", policy);
    cluster.put("pods", pod_value("demo", "c", "10.0.0.3"));
    cluster.put("pods", pod_value("demo", "d", "10.0.0.4"));
    let knows = |snapshot: &Snapshot| {
        let policy = snapshot.all(Type::Authorization).contains_key("demo/p");
        policy && snapshot.all(Type::Address).len() == 4
    };
    ahead.until(knows).await;
    let (mut policies, mut addresses) = (ahead.all(Type::Authorization), ahead.all(Type::Address));
    policies.retain(|name, _| name == "demo/p");
    let older = behind.all(Type::Address)[&uid("a")].clone();
    assert_ne!(addresses[&uid("a")], older);
    cluster.delete("pods", "d");
    cluster.put("pods", pod_value("demo", "e", "10.0.0.5"));

    let mut of_policies = behind.meet(Type::Authorization, &policies).await;
    assert_eq!(text(&of_policies.take().await), "Authorization");
    let mut of_addresses = behind.meet(Type::Address, &addresses).await;
    assert_eq!(text(&of_addresses.take().await), "Address");
    silence(&mut of_addresses).await;

    behind.link.0.stalled.store(false, Relaxed);
    ahead
        .until(|snapshot| snapshot.all(Type::Address).contains_key(uid("e").as_str()))
        .await;
    while addresses != ahead.all(Type::Address) {
        let response = of_addresses.take().await;
        for resource in &response.resources {
            assert_ne!(resource.version, older, "it went back");
            addresses.insert(resource.name.clone(), resource.version.clone());
        }
        for name in &response.removed_resources {
            assert_eq!(*name, uid("d"));
            addresses.remove(name);
        }
    }
    silence(&mut of_addresses).await;
    silence(&mut of_policies).await;
    cluster.delete("authorizationpolicies", "p");
    assert_eq!(text(&of_policies.take().await), "Authorization -demo/p");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_away_only_what_a_watch_says_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::demo();
    let replica = Replica::start(&cluster, state.path()).await;
    replica.link.0.away.store(true, Relaxed);
    let mut has = replica.all(Type::Address);
    has.remove(&uid("a"));
    has.insert(uid("ghost"), "unknown".into());
    let mut stream = replica.meet(Type::Address, &has).await;
    assert_eq!(
        text(&stream.take().await),
        format!("Address +{}", uid("a")),
        "what is new is served"
    );
    cluster.delete("pods", "b");
    let gone = |pod: &str| format!("Address -{}", uid(pod));
    assert_eq!(text(&stream.take().await), gone("b"));
    silence(&mut stream).await;
    replica.link.0.away.store(false, Relaxed);
    assert_eq!(text(&stream.take().await), gone("ghost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_come_at_once_cost_one_question() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::demo();
    let replica = Replica::start(&cluster, state.path()).await;
    let told: Vec<_> = (0..200).map(|_| replica.catch_up.ask()).collect();
    for told in told {
        tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    }
    // Those who ask while one is under way need another.
    let asked = replica.link.0.asked.load(Relaxed);
    assert!((1..=2).contains(&asked), "{asked}");
}
