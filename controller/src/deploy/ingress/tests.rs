//! The Gateway comes with the first Ingress and goes with the last, and nobody else's is touched.

use std::sync::Mutex;

use http::Method;
use serde_json::json;
use tokio::sync::watch;

use super::super::run::{Heard, Settings};
use super::*;
use crate::engine::Snapshot;
use crate::source::Seen;
use crate::testing::api_server;

const GATEWAYS: &str =
    "/apis/gateway.networking.k8s.io/v1/namespaces/culvert-system/gateways/culvert-ingress";

/// An API server with one Gateway at most, and one IngressClass.
#[derive(Clone, Default)]
struct Server {
    gateway: Arc<Mutex<Option<Value>>>,
    class: Arc<Mutex<Option<Value>>>,
}

impl Server {
    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        let found = |object: Option<Value>| match object {
            Some(object) => (200, object),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": "NotFound", "code": 404}),
            ),
        };
        if head.uri.path() == "/apis/networking.k8s.io/v1/ingressclasses/culvert" {
            return found(self.class.lock().unwrap().clone());
        }
        assert_eq!(head.uri.path(), GATEWAYS);
        let mut gateway = self.gateway.lock().unwrap();
        match head.method {
            Method::GET => found(gateway.clone()),
            Method::PATCH => {
                let mut applied: Value = serde_json::from_slice(body).unwrap();
                applied["metadata"]["uid"] = "u1".into();
                *gateway = Some(applied.clone());
                (200, applied)
            }
            Method::DELETE => {
                let options: Value = serde_json::from_slice(body).unwrap();
                assert_eq!(options["preconditions"]["uid"], "u1");
                found(gateway.take())
            }
            _ => panic!("{head:?}"),
        }
    }

    fn deployer(&self, snapshots: &watch::Sender<Arc<Snapshot>>) -> Deployer {
        let server = self.clone();
        let client = api_server(move |head, body| {
            let server = server.clone();
            async move { server.answer(&head, &body) }
        });
        let settings = Settings {
            image: String::new(),
            pull_policy: String::new(),
            namespace: "culvert-system".into(),
            service: "culvert-controller".into(),
            port: 15012,
        };
        let heard = Heard {
            snapshots: snapshots.subscribe(),
            seen: watch::Sender::new(Seen::default()).subscribe(),
        };
        Deployer::new(client, settings, heard)
    }

    fn has(&self) -> Option<Value> {
        self.gateway.lock().unwrap().clone()
    }
}

fn served(any: bool) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    if any {
        let name = NsName::new("culvert-system", "culvert-ingress");
        snapshot.gateways.insert(name, Arc::default());
    }
    Arc::new(snapshot)
}

async fn until(server: &Server, present: bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while server.has().is_some() != present {
        assert!(tokio::time::Instant::now() < deadline, "present: {present}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_comes_with_the_first_ingress_and_goes_with_the_last() {
    let server = Server::default();
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "culvert", "annotations": {"culvert.dev/service-type": "NodePort", "other": "x"}}});
    *server.class.lock().unwrap() = Some(class);
    let snapshots = watch::Sender::new(served(false));
    let following = tokio::spawn(follow(Arc::new(server.deployer(&snapshots))));
    for _ in 0..2 {
        snapshots.send_replace(served(true));
        until(&server, true).await;
        snapshots.send_replace(served(false));
        until(&server, false).await;
    }
    snapshots.send_replace(served(true));
    until(&server, true).await;
    let made = server.has().unwrap();
    assert_eq!(made["spec"]["gatewayClassName"], "culvert");
    let annotations = json!({"culvert.dev/service-type": "NodePort"});
    assert_eq!(made["metadata"]["annotations"], annotations);
    assert_eq!(made["metadata"]["labels"][MANAGED_BY], MANAGER);
    following.abort();
}

#[test]
fn it_is_a_gateway_as_any_other() {
    let name = NsName::new("culvert-system", "culvert-ingress");
    let made: DynamicObject = serde_json::from_value(object(&name, None)).unwrap();
    let wanted = super::super::gateway::read(&made, super::super::class::Role::Gateway).unwrap();
    let super::super::gateway::Takes::Listeners(exposure) = wanted.takes else {
        panic!()
    };
    assert_eq!(exposure.ports, [80, 443].into());
    assert_eq!(super::super::gateway::listeners(&made), ["http", "https"]);
}

#[tokio::test]
async fn one_of_somebody_else_is_left_alone() {
    let server = Server::default();
    let foreign = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "culvert-ingress", "namespace": "culvert-system", "uid": "u1"}, "spec": {}});
    *server.gateway.lock().unwrap() = Some(foreign.clone());
    let snapshots = watch::Sender::new(served(false));
    let deployer = server.deployer(&snapshots);
    let name = NsName::new("culvert-system", "culvert-ingress");
    deployer.remove(&name).await.unwrap();
    let refused = deployer.make(&name).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("culvert-system/culvert-ingress"),
        "{refused}"
    );
    assert_eq!(server.has(), Some(foreign));
}
