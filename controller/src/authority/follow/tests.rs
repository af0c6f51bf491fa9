//! The Secret changes while the controller runs.

use std::sync::Mutex;

use culvert_identity::ca::ServerNames;
use culvert_runtime::drain;
use serde_json::{Value, json};

use super::*;
use crate::authority::{ALONE, ROOTS, load, secret};
use crate::testing::api_server;

/// An API server with one Secret and one ConfigMap.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    secret: Option<Value>,
    map: Option<Value>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        api_server(move |head, body| {
            let server = server.clone();
            async move { server.answer(&head, &body).await }
        })
    }

    async fn answer(&self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        let query = head.uri.query().unwrap_or_default();
        if head.uri.path().ends_with("/secrets") && query.contains("watch=") {
            return (200, self.next(query).await);
        }
        let mut state = self.0.lock().unwrap();
        let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": "NotFound", "code": 404});
        let found = |found: &Option<Value>| match found {
            Some(found) => (200, found.clone()),
            None => (404, missing.clone()),
        };
        match head.uri.path().rsplit('/').next().unwrap() {
            "secrets" => {
                let version = state.version.to_string();
                let items: Vec<_> = state.secret.iter().collect();
                (
                    200,
                    json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            "culvert-ca" => found(&state.secret),
            "culvert-ca-root" if head.method == http::Method::PATCH => {
                state.map = serde_json::from_slice(body).unwrap();
                found(&state.map)
            }
            "culvert-ca-root" => found(&state.map),
            other => panic!("{other}"),
        }
    }

    /// What happened after the version that a watch begins with, when it has.
    async fn next(&self, query: &str) -> Value {
        let from = query
            .split('&')
            .find_map(|q| q.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        loop {
            {
                let state = self.0.lock().unwrap();
                if state.version > from {
                    let meta = json!({"metadata": {"name": SECRET, "namespace": "culvert-system", "resourceVersion": state.version.to_string()}});
                    return match &state.secret {
                        Some(secret) => json!({"type": "MODIFIED", "object": secret}),
                        None => json!({"type": "DELETED", "object": meta}),
                    };
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn put(&self, secret: Option<Value>) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        state.secret = secret.map(|mut secret| {
            secret["metadata"]["resourceVersion"] = version.into();
            secret
        });
    }

    fn published(&self) -> String {
        let state = self.0.lock().unwrap();
        let map = state.map.as_ref();
        let text = map.and_then(|map| map["data"][ROOTS.1].as_str());
        text.unwrap_or_default().to_owned()
    }
}

fn domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

/// A Secret, and its root.
fn made() -> (Value, String) {
    let pems = Root::generate(&domain()).unwrap();
    let root = pems.chain.clone();
    (serde_json::to_value(secret(pems)).unwrap(), root)
}

struct Running {
    server: Server,
    root: watch::Receiver<Arc<Root>>,
    told: mpsc::Receiver<Event>,
    _drain: drain::Trigger,
}

impl Running {
    async fn start(secret: &Value) -> Self {
        let server = Server::default();
        server.put(Some(secret.clone()));
        let client = server.client();
        let signing = load(&client, "culvert-system", domain()).await.unwrap();
        let names = ServerNames {
            dns: vec!["localhost".into()],
            ips: Vec::new(),
        };
        let acceptor = Acceptor::new((*signing.root).clone(), names).unwrap();
        let (issuer, root) = watch::channel(signing.root.clone());
        let (events, told) = mpsc::channel(16);
        let now = crate::clock::now();
        let rotation = Rotation::new(signing, Published::default(), Duration::ZERO, now);
        let follower = Follower {
            client,
            namespace: "culvert-system".into(),
            trust_domain: domain(),
            rotation,
            issuer,
            acceptor: Arc::new(acceptor),
            events,
            snapshots: watch::channel(Arc::default()).1,
        };
        let (trigger, drain) = drain::channel();
        tokio::spawn(follower.run(drain));
        Self {
            server,
            root,
            told,
            _drain: trigger,
        }
    }

    async fn roots(&mut self) -> Vec<String> {
        let told = tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await;
        match told.unwrap() {
            Some(Event::Roots(roots)) => roots,
            other => panic!("{other:?}"),
        }
    }

    fn signs(&self) -> String {
        self.root.borrow().roots_pem().unwrap().concat()
    }

    async fn published(&self, expected: &str) {
        let look = async {
            while self.server.published() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), look)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_replaced_secret_counts_without_a_restart() {
    let (old, old_root) = made();
    let (new, new_root) = made();
    let mut running = Running::start(&old).await;
    assert_eq!(running.roots().await, std::slice::from_ref(&old_root));
    running.published(&old_root).await;
    running.server.put(Some(new));
    // Trusted everywhere; who signs is another matter, and takes a while.
    assert_eq!(running.roots().await, [old_root.clone(), new_root.clone()]);
    running.published(&format!("{old_root}{new_root}")).await;
    assert_eq!(running.signs(), old_root);
}

#[tokio::test]
async fn a_root_that_is_to_be_the_only_one_signs_at_once() {
    let (old, old_root) = made();
    let (mut new, new_root) = made();
    let mut running = Running::start(&old).await;
    assert_eq!(running.roots().await, [old_root]);
    new["metadata"]["annotations"] = json!({ ALONE: "true" });
    running.server.put(Some(new));
    assert_eq!(running.roots().await, std::slice::from_ref(&new_root));
    running.published(&new_root).await;
    assert_eq!(running.signs(), new_root);
}

#[tokio::test]
async fn a_secret_that_is_no_good_or_gone_changes_nothing() {
    let (old, old_root) = made();
    let (new, new_root) = made();
    let mut running = Running::start(&old).await;
    assert_eq!(running.roots().await, std::slice::from_ref(&old_root));
    let mut mixed = new.clone();
    mixed["data"]["ca.key"] = old["data"]["ca.key"].clone();
    for wrong in [
        Some(mixed),
        Some(json!({"metadata": {"name": SECRET}})),
        None,
    ] {
        running.server.put(wrong);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(running.told.try_recv().is_err());
        assert_eq!(running.signs(), old_root);
    }
    // And what is right again counts.
    running.server.put(Some(new));
    assert_eq!(running.roots().await, [old_root, new_root]);
}
