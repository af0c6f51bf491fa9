//! Draining, endpoints that come and go, and nothing left behind.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use culvert_proto::type_url;
use tokio::sync::Notify;

use crate::backend::{Backend, Speaks, response};
use crate::client::{Client, get};
use crate::mesh::{PATIENCE, test};

const VIP: &str = "10.96.0.10:80";

#[test]
fn requests_in_flight_finish_and_no_new_ones_start() {
    test(
        "lifecycle::requests_in_flight_finish_and_no_new_ones_start",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let release = Rc::new(Notify::new());
            let held = Rc::clone(&release);
            let wait = move |request: http::Request<hyper::body::Incoming>| {
                let held = Rc::clone(&held);
                async move {
                    if request.uri().path() == "/wait" {
                        held.notified().await;
                    }
                    response(200, "done")
                }
            };
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, wait).await?;
            let client = Client::new(&mesh, "curl").await?;
            let (mut one, mut two) = (client.http1(VIP).await?, client.http2(VIP).await?);
            let waiting = async {
                let (first, second) = tokio::join!(one.get("/wait"), two.get("/wait"));
                anyhow::Ok((first?, second?))
            };
            let draining = async {
                while backend.requests.get() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                mesh.drain();
                tokio::time::sleep(Duration::from_millis(100)).await;
                release.notify_waiters();
            };
            let (answers, ()) = tokio::join!(waiting, draining);
            let (first, second) = answers?;
            assert_eq!((first.text(), second.text()), ("done", "done"));
            assert!(
                one.get("/").await.is_err() && two.get("/").await.is_err(),
                "connections were told to end"
            );
            drop((one, two, client));
            mesh.drained().await?;
            assert_eq!(mesh.cores.connections(), [0, 0]);
            Ok(())
        },
    );
}

#[test]
fn a_client_that_is_gone_takes_its_request_along() {
    test(
        "lifecycle::a_client_that_is_gone_takes_its_request_along",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let waiting = Rc::new(std::cell::Cell::new(0));
            let counter = Rc::clone(&waiting);
            let never = move |_: http::Request<hyper::body::Incoming>| {
                let guard = Waiting::new(&counter);
                async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                    response(200, "")
                }
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, never).await?;
            let client = Client::new(&mesh, "curl").await?;
            for mut http in [client.http1(VIP).await?, client.http2(VIP).await?] {
                let request = tokio::task::spawn_local(async move { http.get("/").await });
                while waiting.get() == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                request.abort();
                while waiting.get() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Ok(())
        },
    );
}

/// Counts a request at the backend for as long as it is served.
struct Waiting(Rc<std::cell::Cell<usize>>);

impl Waiting {
    fn new(counter: &Rc<std::cell::Cell<usize>>) -> Self {
        counter.set(counter.get() + 1);
        Self(Rc::clone(counter))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn endpoints_follow_the_mesh() {
    test("lifecycle::endpoints_follow_the_mesh", |mesh| async move {
        mesh.service("web", "10.96.0.10")?;
        let first = Backend::named(&mesh, "first", "web", 10).await?;
        let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
        assert_eq!(http.get("/").await?.text(), "first");
        let _second = Backend::named(&mesh, "second", "web", 11).await?;
        mesh.remove(type_url::ADDRESS, &first.pod.uid());
        for _ in 0..20 {
            assert_eq!(http.get("/").await?.text(), "second");
        }
        mesh.remove(type_url::ADDRESS, "c1//Pod/demo/second");
        let answer = http.get("/").await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("culvert-deny-reason")),
            (503, Some("no_endpoint"))
        );
        Ok(())
    });
}

#[test]
fn descriptors_and_tasks_return_to_where_they_were() {
    test(
        "lifecycle::descriptors_and_tasks_return_to_where_they_were",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let _web = Backend::named(&mesh, "web-1", "web", 10).await?;
            // One on each core, so that both have their tunnel to the backend.
            let (first, second) = (
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "curl").await?,
            );
            let mut kept = [first.http1(VIP).await?, second.http1(VIP).await?];
            for http in &mut kept {
                assert_eq!(http.get("/").await?.status, 200);
            }
            assert_eq!(mesh.cores.connections(), [1, 1]);
            let before = held()?;
            for _ in 0..10 {
                let client = Client::new(&mesh, "curl").await?;
                for _ in 0..10 {
                    assert_eq!(client.http1(VIP).await?.get("/").await?.status, 200);
                    // Gone in the middle of its request.
                    let mut gone = client.http1(VIP).await?;
                    drop(tokio::time::timeout(Duration::ZERO, gone.send(get("/"))).await);
                }
            }
            let start = std::time::Instant::now();
            while held()? != before {
                let left = held()?;
                anyhow::ensure!(
                    start.elapsed() < PATIENCE,
                    "before: {before:?}, left: {left:?}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for http in &mut kept {
                assert_eq!(http.get("/").await?.status, 200);
            }
            Ok(())
        },
    );
}

/// Descriptors of this process, and its tasks by name. Idle connections that are kept for the next request are streams
/// of tunnels that are counted as descriptors: how many there are does not matter.
fn held() -> anyhow::Result<BTreeMap<String, i64>> {
    let mut held: BTreeMap<_, _> = culvert_runtime::task::live()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    held.remove("upstream_http1");
    held.insert(
        "descriptors".into(),
        i64::try_from(std::fs::read_dir("/proc/self/fd")?.count())?,
    );
    Ok(held)
}
