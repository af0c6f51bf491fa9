//! What is written, and what is done when it cannot be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use culvert_runtime::drain;
use http::Method;

use super::*;
use crate::testing::api_server;

/// An API server that keeps one ConfigMap, after so many failures.
#[derive(Clone, Default)]
struct Server {
    kept: Arc<Mutex<Option<Value>>>,
    failures: Arc<AtomicUsize>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        api_server(move |head, body| {
            let server = server.clone();
            async move { server.answer(&head, &body) }
        })
    }

    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        let failed = |code: u16| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": if code == 404 { "NotFound" } else { "x" }, "code": code});
            (code, status)
        };
        let fewer = |left: usize| left.checked_sub(1);
        let (order, reset) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.failures.fetch_update(order, reset, fewer).is_ok() {
            return failed(503);
        }
        assert!(
            head.uri
                .path()
                .ends_with("/culvert-system/configmaps/culvert-waypoints")
        );
        let mut kept = self.kept.lock().unwrap();
        let query = head.uri.query().unwrap_or_default();
        let apply = query.contains("fieldManager=");
        match (&head.method, kept.as_mut()) {
            (&Method::GET, Some(map)) => return (200, map.clone()),
            (&Method::PATCH, None) if apply => {
                *kept = serde_json::from_slice(body).unwrap();
            }
            (&Method::PATCH, Some(map)) => {
                let patch: Value = serde_json::from_slice(body).unwrap();
                for (key, value) in patch["data"].as_object().unwrap() {
                    match value {
                        Value::Null => drop(map["data"].as_object_mut().unwrap().remove(key)),
                        value => map["data"][key] = value.clone(),
                    }
                }
            }
            _ => return failed(404),
        }
        (200, kept.clone().unwrap())
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(&self.client(), "culvert-system")
    }

    fn data(&self) -> Value {
        let kept = self.kept.lock().unwrap();
        kept.as_ref()
            .map(|map| map["data"].clone())
            .unwrap_or_default()
    }
}

fn wishes(keep: &[(&str, Purpose)], forget: &[&str]) -> Wishes {
    let name = |text: &str| NsName::new("demo", text);
    Wishes {
        keep: keep
            .iter()
            .map(|(text, purpose)| (name(text), *purpose))
            .collect(),
        forget: forget.iter().map(|text| name(text)).collect(),
    }
}

#[tokio::test]
async fn what_is_written_is_read_by_the_next_start() {
    let server = Server::default();
    assert_eq!(server.ledger().load().await.unwrap(), Stored::new());
    let one = wishes(&[("gate", Purpose::Service)], &[]);
    server.ledger().write(&one).await.unwrap();
    // Another replica's entry stays.
    let other = wishes(&[("other", Purpose::All)], &[]);
    server.ledger().write(&other).await.unwrap();
    let both: Stored = one.keep.into_iter().chain(other.keep).collect();
    assert_eq!(server.ledger().load().await.unwrap(), both);
    server
        .ledger()
        .write(&wishes(&[], &["gate"]))
        .await
        .unwrap();
    assert_eq!(server.data(), json!({"demo_other": "all"}));
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_start() {
    for (key, value) in [("demo_gate", "services"), ("demo", "all"), ("_gate", "all")] {
        let server = Server::default();
        let map = json!({"metadata": {"name": MAP}, "data": { key: value }});
        *server.kept.lock().unwrap() = Some(map);
        let error = server.ledger().load().await.unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(value), "{error}");
    }
    let server = Server::default();
    server.failures.store(1, Ordering::Relaxed);
    assert!(server.ledger().load().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_waited_for_and_only_the_leader_removes() {
    let server = Server::default();
    let old = json!({"metadata": {"name": MAP}, "data": {"demo_old": "all"}});
    *server.kept.lock().unwrap() = Some(old);
    server.failures.store(3, Ordering::Relaxed);
    let (tell, wished) = watch::channel(wishes(&[("gate", Purpose::Service)], &["old"]));
    let (lead, leads) = watch::channel(false);
    let (_trigger, drain) = drain::channel();
    let running = server.ledger().run(wished, Leadership::new(leads), drain);
    let running = tokio::spawn(running);
    let until = |expected: Value| {
        let server = server.clone();
        async move {
            while server.data() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let limit = Duration::from_secs(10);
    let both = json!({"demo_gate": "service", "demo_old": "all"});
    tokio::time::timeout(limit, until(both)).await.unwrap();
    lead.send_replace(true);
    tell.send_replace(wishes(&[], &["old"]));
    let one = json!({"demo_gate": "service"});
    tokio::time::timeout(limit, until(one)).await.unwrap();
    running.abort();
}
