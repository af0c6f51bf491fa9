//! What becomes of XMeshes on an API server: ours is made once, and told of; others are left alone.

use std::sync::{Arc, Mutex};

use http::Method;

use super::*;
use crate::testing::api_server;

/// An API server with these, and what was written to it: method, path, body.
#[derive(Clone, Default)]
struct Server {
    meshes: Arc<Mutex<Vec<Value>>>,
    written: Arc<Mutex<Vec<(String, Value)>>>,
    absent: bool,
}

impl Server {
    fn api(&self) -> Api<DynamicObject> {
        let server = self.clone();
        let client = api_server(move |head, body| {
            let server = server.clone();
            async move { server.answer(&head, &body) }
        });
        Api::all_with(client, &resource())
    }

    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        const PATH: &str = "/apis/gateway.networking.x-k8s.io/v1alpha1/xmeshes";
        if self.absent {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                "message": "x", "reason": "NotFound", "code": 404});
            return (404, status);
        }
        let mut meshes = self.meshes.lock().unwrap();
        let path = head.uri.path().strip_prefix(PATH).unwrap();
        if head.method == Method::GET {
            let list =
                json!({"apiVersion": "v1", "kind": "XMeshList", "metadata": {}, "items": *meshes});
            return (200, list);
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        let line = format!("{} {path}", head.method);
        self.written.lock().unwrap().push((line, body.clone()));
        if head.method == Method::POST {
            let mut made = body;
            made["metadata"]["generation"] = 1.into();
            meshes.push(made.clone());
            return (201, made);
        }
        let name = path.trim_matches('/').split('/').next().unwrap();
        let mesh = meshes
            .iter_mut()
            .find(|mesh| mesh["metadata"]["name"] == name);
        let mesh = mesh.unwrap();
        mesh["status"] = body["status"].clone();
        (200, mesh.clone())
    }

    fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.written.lock().unwrap())
    }
}

fn mesh(name: &str, controller: &str, generation: i64) -> Value {
    json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XMesh",
           "metadata": {"name": name, "generation": generation}, "spec": {"controllerName": controller}})
}

#[tokio::test]
async fn ours_is_made_and_told_of_once() {
    let server = Server::default();
    let api = server.api();
    tend(&api).await.unwrap();
    let written = server.take();
    let lines: Vec<_> = written.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines, ["POST ", "PATCH /culvert/status"]);
    assert_eq!(
        written[0].1["spec"]["controllerName"],
        "culvert.dev/controller"
    );
    let status = &written[1].1["status"];
    let accepted = &status["conditions"][0];
    assert_eq!(
        (
            &accepted["type"],
            &accepted["status"],
            &accepted["observedGeneration"]
        ),
        (&json!("Accepted"), &json!("True"), &json!(1))
    );
    let features = status["supportedFeatures"].as_array().unwrap();
    assert!(features.contains(&json!({"name": "Mesh"})), "{features:?}");
    assert!(features.is_sorted_by_key(|feature| feature["name"].as_str().unwrap().to_owned()));
    tend(&api).await.unwrap();
    assert!(server.take().is_empty(), "nothing is written twice");
}

#[tokio::test]
async fn those_of_others_are_left_alone_and_further_ones_of_ours_are_told_of() {
    let server = Server::default();
    let mut named = mesh("mine", GATEWAY_CONTROLLER, 4);
    named["spec"]["parametersRef"] = json!({"group": "", "kind": "ConfigMap", "name": "x"});
    *server.meshes.lock().unwrap() = vec![mesh(NAME, "example.com/mesh", 1), named];
    tend(&server.api()).await.unwrap();
    let written = server.take();
    let lines: Vec<_> = written.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines, ["PATCH /mine/status"]);
    let accepted = &written[0].1["status"]["conditions"][0];
    assert_eq!(
        (
            &accepted["status"],
            &accepted["reason"],
            &accepted["observedGeneration"]
        ),
        (&json!("False"), &json!("InvalidParameters"), &json!(4))
    );
}

#[tokio::test]
async fn without_the_kind_nothing_is_written() {
    let server = Server {
        absent: true,
        ..Server::default()
    };
    let error = tend(&server.api()).await.unwrap_err();
    assert!(is(&error, 404), "{error}");
    assert!(server.take().is_empty());
}
