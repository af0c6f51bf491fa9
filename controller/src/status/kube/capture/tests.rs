//! What is written at pods, and what is done when it cannot be.

use std::sync::atomic::{AtomicUsize, Ordering};

use culvert_runtime::drain;

use super::*;
use crate::testing::api_server;

fn said(capture: &str) -> Wanted {
    Wanted::Said {
        node: "n1".into(),
        uid: "u".into(),
        capture: capture.into(),
        message: "m".into(),
    }
}

fn told(status: Value) -> Told {
    Told {
        uid: "u".into(),
        node: "n1".into(),
        status,
        ..Told::default()
    }
}

fn is(status: &str, reason: &str) -> Value {
    json!({"type": CAPTURED, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "t"})
}

#[test]
fn what_is_written() {
    let none = Value::Null;
    for (now, capture, expected) in [
        (&none, "captured", Some(("True", "Captured"))),
        (&none, "pending", Some(("False", "Pending"))),
        (&none, "failed", Some(("False", "Failed"))),
        (&none, "released", None),
        (&is("True", "Captured"), "captured", None),
        (&is("True", "Captured"), "pending", None),
        (&is("True", "Captured"), "failed", Some(("False", "Lost"))),
        (&is("False", "Lost"), "pending", None),
        (&is("False", "Lost"), "captured", Some(("True", "Captured"))),
        (&is("False", "Pending"), "pending", None),
    ] {
        let condition = condition(&told(now.clone()), &said(capture));
        let text = |key: &str| condition.as_ref().map(|c| c[key].as_str().unwrap());
        let got = text("status").zip(text("reason"));
        assert_eq!(got, expected, "{now} {capture}");
    }
    for wanted in [said("released"), Wanted::Nothing] {
        let removed = condition(&told(is("True", "Captured")), &wanted).unwrap();
        assert_eq!(removed["$patch"], "delete");
    }
}

#[test]
fn nobody_speaks_for_another_nodes_pod_or_another_pod() {
    let mut elsewhere = told(Value::Null);
    elsewhere.node = "n2".into();
    assert!(!said("captured").is_of(&elsewhere));
    let mut successor = told(Value::Null);
    successor.uid = "v".into();
    assert!(!said("captured").is_of(&successor));
    assert!(said("captured").is_of(&told(Value::Null)));
}

/// An API server that takes patches of pods after so many failures, each in its time.
#[derive(Clone, Default)]
struct Server {
    took: Arc<Mutex<Vec<(String, Value)>>>,
    failures: Arc<AtomicUsize>,
    takes: Duration,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        api_server(move |head, body| {
            let server = server.clone();
            async move {
                tokio::time::sleep(server.takes).await;
                server.answer(head.uri.path(), &body)
            }
        })
    }

    fn answer(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let failed = |code: u16| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": "x", "code": code});
            (code, status)
        };
        let fewer = |left: usize| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.failures.fetch_update(order, order, fewer).is_ok() {
            return failed(503);
        }
        let Some(pod) = path.strip_prefix("/api/v1/namespaces/demo/pods/") else {
            // Events.
            return failed(403);
        };
        let pod = pod.strip_suffix("/status").unwrap();
        let patch: Value = serde_json::from_slice(body).unwrap();
        if patch["metadata"]["resourceVersion"] == "stale" {
            return failed(409);
        }
        self.took.lock().unwrap().push((pod.to_owned(), patch));
        (200, json!({"metadata": {"name": pod, "namespace": "demo"}}))
    }

    fn took(&self) -> Vec<(String, Value)> {
        self.took.lock().unwrap().clone()
    }

    /// Wait until so many patches were taken; how long that took.
    async fn until(&self, count: usize) -> Duration {
        let began = Instant::now();
        while self.took().len() < count {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                self.took()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }
}

fn key(name: &str) -> Key {
    Key {
        kind: Kind::Pod,
        name: NsName::new("demo", name),
    }
}

fn state(name: &str, capture: &str) -> PodState {
    PodState {
        uid: "u".into(),
        namespace: "demo".into(),
        name: name.into(),
        capture: capture.into(),
        ..PodState::default()
    }
}

/// Writes until the trigger is dropped.
fn run(server: &Server, book: &Book) -> (Captures, drain::Trigger) {
    let (trigger, drain) = drain::channel();
    let captures = Captures::default();
    let running = captures.clone();
    tokio::spawn(running.run(server.client(), book.clone(), "test".into(), drain));
    (captures, trigger)
}

#[tokio::test]
async fn many_pods_are_written_at_once() {
    let server = Server {
        takes: Duration::from_millis(20),
        ..Server::default()
    };
    let book = Book::default();
    let names: Vec<_> = (0..200).map(|i| format!("pod-{i}")).collect();
    for name in &names {
        book.put(&key(name), told(Value::Null));
    }
    let (captures, _trigger) = run(&server, &book);
    let states: Vec<_> = names.iter().map(|name| state(name, "captured")).collect();
    captures.said(("n1", &states));
    let took = server.until(200).await;
    // One after the other they would take four seconds.
    assert!(took < Duration::from_secs(1), "{took:?}");
    for (_, patch) in server.took() {
        assert_eq!(patch["metadata"], json!({"uid": "u"}));
        assert_eq!(patch["status"]["conditions"][0]["status"], "True");
    }
}

#[tokio::test]
async fn what_an_api_server_that_was_away_was_not_told_it_is_told_when_it_is_back() {
    let server = Server::default();
    server.failures.store(6, Ordering::Relaxed);
    let book = Book::default();
    for name in ["a", "b"] {
        book.put(&key(name), told(Value::Null));
    }
    let (captures, _trigger) = run(&server, &book);
    captures.said(("n1", &[state("a", "captured"), state("b", "captured")]));
    server.until(2).await;
    let mut names: Vec<_> = server.took().into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn a_pod_that_the_watch_does_not_know_yet_is_written_when_it_does() {
    let (server, book) = (Server::default(), Book::default());
    let (captures, _trigger) = run(&server, &book);
    captures.said(("n1", &[state("a", "captured")]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.took(), []);
    book.put(&key("a"), told(Value::Null));
    server.until(1).await;
}

#[tokio::test]
async fn what_is_made_from_an_old_look_does_not_undo_what_another_replica_wrote() {
    let (server, book) = (Server::default(), Book::default());
    let mut old = told(Value::Null);
    old.version = "stale".into();
    book.put(&key("a"), old);
    let (captures, _trigger) = run(&server, &book);
    captures.said(("n1", &[state("a", "failed")]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    // It would have read: not captured, never was. Another replica had written that it was.
    assert_eq!(server.took(), []);
    let mut new = told(is("True", "Captured"));
    new.version = "new".into();
    book.put(&key("a"), new);
    server.until(1).await;
    let (_, patch) = server.took().remove(0);
    assert_eq!(patch["metadata"]["resourceVersion"], "new");
    assert_eq!(patch["status"]["conditions"][0]["reason"], CAPTURE_LOST);
}
