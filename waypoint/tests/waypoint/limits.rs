//! Bounds of connections and requests that a TrafficPolicy states.

use std::rc::Rc;

use culvert_proto::{type_url, waypoint as pb};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use crate::backend::{Backend, Speaks, response};
use crate::client::Client;
use crate::mesh::{Mesh, test};
use crate::resources::traffic;

const VIP: &str = "10.96.0.10:80";

/// A backend that answers each request only after it was given leave.
async fn held(mesh: &Mesh) -> anyhow::Result<(Backend, Rc<Semaphore>)> {
    mesh.service("web", "10.96.0.10")?;
    let leave = Rc::new(Semaphore::new(0));
    let wait = Rc::clone(&leave);
    let answer = move |_: http::Request<hyper::body::Incoming>| {
        let wait = Rc::clone(&wait);
        async move {
            wait.acquire().await?.forget();
            response(200, "done")
        }
    };
    let backend = Backend::start(mesh, "web-1", "web", 10, Speaks::Both, answer).await?;
    Ok((backend, leave))
}

#[test]
fn connections_are_bounded_and_so_is_waiting_for_one() {
    test(
        "limits::connections_are_bounded_and_so_is_waiting_for_one",
        |mesh| async move {
            let (backend, leave) = held(&mesh).await?;
            let policy = pb::TrafficPolicy {
                max_connections: 1,
                max_pending_requests: 1,
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("limits", "web", policy))?;
            // One tunnel, so that all of it is on one core.
            let client = Client::new(&mesh, "curl").await?;
            let [mut first, mut second, mut third] = [
                client.http1(VIP).await?,
                client.http1(VIP).await?,
                client.http1(VIP).await?,
            ];
            let first = spawn_local(async move { first.get("/").await });
            while backend.requests.get() == 0 {
                tokio::task::yield_now().await;
            }
            // One of the two waits; the other one is one too many.
            let (second, third) = (second.get("/"), third.get("/"));
            tokio::pin!(second, third);
            let (refused, waiting) = tokio::select! {
                answer = &mut second => (answer?, third),
                answer = &mut third => (answer?, second),
            };
            assert_eq!(
                (
                    refused.status.as_u16(),
                    refused.header("culvert-deny-reason")
                ),
                (503, Some("overload"))
            );
            leave.add_permits(2);
            assert_eq!(first.await??.text(), "done");
            assert_eq!(waiting.await?.text(), "done");
            assert_eq!((backend.connections.get(), backend.requests.get()), (1, 2));
            Ok(())
        },
    );
}

#[test]
fn requests_at_once_are_bounded_over_all_cores() {
    test(
        "limits::requests_at_once_are_bounded_over_all_cores",
        |mesh| async move {
            let (backend, leave) = held(&mesh).await?;
            let policy = pb::TrafficPolicy {
                max_requests: 2,
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("limits", "web", policy))?;
            let (one, other) = (
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "curl").await?,
            );
            let mut waiting = Vec::new();
            for client in [&one, &other] {
                let mut http = client.http2(VIP).await?;
                waiting.push(spawn_local(async move { http.get("/").await }));
            }
            while backend.requests.get() < 2 {
                tokio::task::yield_now().await;
            }
            for client in [&one, &other] {
                let answer = client.http1(VIP).await?.get("/").await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                    (503, Some("overload"))
                );
            }
            leave.add_permits(3);
            for request in waiting {
                assert_eq!(request.await??.text(), "done");
            }
            assert_eq!(
                one.http1(VIP).await?.get("/").await?.text(),
                "done",
                "places were given back"
            );
            Ok(())
        },
    );
}
