//! Ports that come and go, and what that means for connections.

use std::rc::Rc;

use culvert_proto::waypoint::ListenerProtocol::{Http, Https};
use tokio::sync::Notify;

use super::{listener, secured};
use crate::backend::{Backend, Speaks, response};
use crate::certificates::ecdsa;
use crate::mesh::{Mesh, PATIENCE, test};
use crate::outside::{self, of};

/// A backend that answers `/wait` only when told.
async fn waiting(mesh: &Mesh) -> anyhow::Result<(Backend, Rc<Notify>)> {
    mesh.service("web", "10.96.0.10")?;
    let release = Rc::new(Notify::new());
    let held = Rc::clone(&release);
    let answer = move |request: ::http::Request<hyper::body::Incoming>| {
        let held = Rc::clone(&held);
        async move {
            if request.uri().path() == "/wait" {
                held.notified().await;
            }
            response(200, "done")
        }
    };
    let backend = Backend::start(mesh, "web-1", "web", 10, Speaks::Both, answer).await?;
    Ok((backend, release))
}

/// Waits until nobody listens at the port.
async fn closed(port: u16) -> anyhow::Result<()> {
    let closing = async {
        while outside::tcp_once(port).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    Ok(tokio::time::timeout(PATIENCE, closing).await?)
}

#[test]
fn a_removed_listener_drains_and_others_do_not_notice() {
    test(
        "gateway::lifecycle::a_removed_listener_drains_and_others_do_not_notice",
        |mesh| async move {
            let (backend, release) = waiting(&mesh).await?;
            let (kept, gone) = (
                || listener("kept", 8000, Http, ""),
                listener("gone", 8001, Http, ""),
            );
            mesh.listeners(vec![kept(), gone])?;
            mesh.attach("kept", "kept", &[], "web")?;
            mesh.attach("gone", "gone", &[], "web")?;
            let mut other = outside::http1(8000).await?;
            assert_eq!(other.get("/").await?.text(), "done");
            let mut idle = outside::http1(8001).await?;
            assert_eq!(idle.get("/").await?.text(), "done");
            let (mut one, mut two) = (outside::http1(8001).await?, outside::http2(8001).await?);
            let in_flight = async {
                let (one, two) = tokio::join!(one.get("/wait"), two.get("/wait"));
                anyhow::Ok((one?, two?))
            };
            let removing = async {
                while backend.requests.get() < 4 {
                    tokio::task::yield_now().await;
                }
                mesh.listeners(vec![kept()])?;
                closed(8001).await?;
                release.notify_waiters();
                anyhow::Ok(())
            };
            let (answers, removed) = tokio::join!(in_flight, removing);
            removed?;
            let (first, second) = answers?;
            assert_eq!((first.text(), second.text()), ("done", "done"));
            for http in [&mut one, &mut two, &mut idle] {
                assert!(http.get("/").await.is_err(), "told to end");
            }
            assert_eq!(other.get("/").await?.text(), "done", "the same connection");
            Ok(())
        },
    );
}

#[test]
fn a_port_that_speaks_something_else_is_another_port() {
    test(
        "gateway::lifecycle::a_port_that_speaks_something_else_is_another_port",
        |mesh| async move {
            let (_backend, release) = waiting(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.attach("web", "web", &[], "web")?;
            mesh.listeners(vec![listener("web", 8000, Http, "")])?;
            let mut plain = outside::http1(8000).await?;
            assert_eq!(plain.get("/").await?.text(), "done");
            mesh.listeners(vec![secured(listener("web", 8000, Https, ""), "one")])?;
            let ending = async {
                while let Ok(answer) = plain.get("/").await {
                    assert_eq!(
                        answer.status, 404,
                        "nothing is served in plain text any more"
                    );
                }
            };
            tokio::time::timeout(PATIENCE, ending).await?;
            let securing = async {
                loop {
                    // The old listener may still take what came in while it closes.
                    if let Ok(mut http) = outside::https(8000, "one.example").await {
                        return http.fetch(of("one.example", "/")).await;
                    }
                }
            };
            let answer = tokio::time::timeout(PATIENCE, securing).await??;
            assert_eq!(answer.text(), "done");
            release.notify_waiters();
            Ok(())
        },
    );
}

#[test]
fn readiness_waits_for_the_first_ports_alone() {
    test(
        "gateway::lifecycle::readiness_waits_for_the_first_ports_alone",
        |mesh| async move {
            let pending = async |expected: &[&str]| {
                let waiting = async {
                    while mesh.ready.pending() != expected {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                };
                tokio::time::timeout(PATIENCE, waiting).await
            };
            pending(&[]).await?;
            let taken = tokio::net::TcpListener::bind(outside::address(8000)).await?;
            mesh.listeners(vec![
                listener("taken", 8000, Http, ""),
                listener("free", 8001, Http, ""),
            ])?;
            pending(&["listeners of the gateway"]).await?;
            assert_eq!(
                outside::http1(8001).await?.get("/").await?.status,
                404,
                "the other port serves"
            );
            drop(taken);
            pending(&[]).await?;
            assert_eq!(outside::http1(8000).await?.get("/").await?.status, 404);
            let _taken = tokio::net::TcpListener::bind(outside::address(8002)).await?;
            mesh.listeners(vec![
                listener("free", 8001, Http, ""),
                listener("taken", 8002, Http, ""),
            ])?;
            closed(8000).await?;
            assert!(mesh.ready.pending().is_empty());
            Ok(())
        },
    );
}

#[test]
fn the_process_drains_its_clients() {
    test(
        "gateway::lifecycle::the_process_drains_its_clients",
        |mesh| async move {
            let (backend, release) = waiting(&mesh).await?;
            mesh.listeners(vec![listener("web", 8000, Http, "")])?;
            mesh.attach("web", "web", &[], "web")?;
            let mut http = outside::http1(8000).await?;
            let draining = async {
                while backend.requests.get() == 0 {
                    tokio::task::yield_now().await;
                }
                mesh.drain();
                closed(8000).await?;
                release.notify_waiters();
                anyhow::Ok(())
            };
            let (answer, drained) = tokio::join!(http.get("/wait"), draining);
            drained?;
            assert_eq!(answer?.text(), "done");
            drop(http);
            mesh.drained().await
        },
    );
}
