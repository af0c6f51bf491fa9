//! One root for all, and none in place of a damaged one.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::Value;

use super::*;
use crate::testing::api_server;

type Kept = Arc<Mutex<Option<Value>>>;

/// An API server that keeps one Secret.
fn server(kept: &Kept) -> Client {
    let kept = Arc::clone(kept);
    api_server(move |head, body| {
        let kept = Arc::clone(&kept);
        async move {
            // Others have their turn between a look and what follows it.
            tokio::task::yield_now().await;
            let mut kept = kept.lock().unwrap();
            let failed = |code: u16| {
                (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": if code == 404 { "NotFound" } else { "AlreadyExists" }, "code": code}),
                )
            };
            match (head.method, &*kept) {
                (Method::GET, Some(secret)) => (200, secret.clone()),
                (Method::GET, None) => failed(404),
                (Method::POST, Some(_)) => failed(409),
                (Method::POST, None) => {
                    let secret: Value = serde_json::from_slice(&body).unwrap();
                    *kept = Some(secret.clone());
                    (201, secret)
                }
                other => panic!("{other:?}"),
            }
        }
    })
}

fn domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

#[tokio::test]
async fn replicas_that_start_at_once_share_one_root() {
    let kept = Kept::default();
    let clients: Vec<_> = (0..4).map(|_| server(&kept)).collect();
    let load = |client: &Client| {
        let client = client.clone();
        tokio::spawn(async move {
            load(&client, "culvert-system", domain())
                .await
                .unwrap()
                .root
        })
    };
    let replicas: Vec<_> = clients.iter().map(load).collect();
    let mut hashes = Vec::new();
    for replica in replicas {
        hashes.push(replica.await.unwrap().root_hash().unwrap());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1);
}

#[tokio::test]
async fn a_damaged_secret_ends_the_start_and_stays_as_it_is() {
    let good = secret(Root::generate(&domain()).unwrap());
    let other = secret(Root::generate(&domain()).unwrap());
    let data = |secret: &Secret, key: &str| secret.data.as_ref().unwrap()[key].clone();
    let with = |key: &str, value: Option<ByteString>| {
        let mut secret = good.clone();
        let data = secret.data.as_mut().unwrap();
        match value {
            Some(value) => drop(data.insert(key.into(), value)),
            None => drop(data.remove(key)),
        }
        secret
    };
    let text = |text: &str| Some(ByteString(text.as_bytes().to_vec()));
    for (damaged, reason) in [
        (with("ca.key", None), "ca.key is missing"),
        (with("ca.crt", None), "ca.crt is missing"),
        (with("ca.key", text("x")), "the key is no private key"),
        (
            with("ca.crt", text("")),
            "the certificate holds no certificate",
        ),
        (
            with("ca.crt", Some(ByteString(vec![0xff]))),
            "ca.crt is no text",
        ),
        (with("root.crt", text("x")), "the root holds no certificate"),
        (
            with("ca.crt", Some(data(&other, "ca.crt"))),
            "not that of the key",
        ),
        (
            with("root.crt", Some(data(&other, "ca.crt"))),
            "not trusted by its own root",
        ),
    ] {
        let before = serde_json::to_value(&damaged).unwrap();
        let kept: Kept = Arc::new(Mutex::new(Some(before.clone())));
        let error = load(&server(&kept), "culvert-system", domain())
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(
            error.contains("Secret culvert-system/culvert-ca"),
            "{error}"
        );
        assert_eq!(*kept.lock().unwrap(), Some(before));
    }
}
