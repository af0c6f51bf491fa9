//! The admin endpoint: readiness, metrics, a dump of the cache. On loopback unless the operator says otherwise; the dump
//! holds no secret, since nothing secret is ever in the cache.

use std::net::SocketAddr;

use culvert_runtime::admin::{Admin, Response};
use culvert_runtime::drain::Drain;
use culvert_runtime::ready::Ready;
use http::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::Event;
use crate::source::kube::Unreachable;

/// Serve it.
pub fn serve(
    address: SocketAddr,
    ready: Ready,
    engine: mpsc::Sender<Event>,
) -> std::io::Result<SocketAddr> {
    let admin = Admin::new()
        .with_metrics()
        .with_logging()
        .route(Method::GET, "/healthz/ready", move |_query| {
            let response = ready.response();
            async move { response }
        })
        .route(Method::GET, "/status", {
            let engine = engine.clone();
            move |_query| {
                let engine = engine.clone();
                async move { status(&engine).await }
            }
        })
        .route(Method::GET, "/config_dump", move |_query| {
            let engine = engine.clone();
            async move { dump(&engine).await }
        });
    admin.serve_tcp(address)
}

/// Metrics and readiness for a cluster's probes, and nothing else: anybody in the cluster can ask.
///
/// A replica that does not reach the API server stays ready, and says so: what it serves is the last good state, and a
/// client that it turned away would have nothing better.
pub fn probes(
    stats: SocketAddr,
    readiness: SocketAddr,
    ready: &Ready,
    unreachable: watch::Receiver<Unreachable>,
    drain: &Drain,
) -> Result<(), (SocketAddr, std::io::Error)> {
    let metrics = Admin::new().with_metrics();
    metrics.serve_tcp(stats).map_err(|error| (stats, error))?;
    let (ready, drain) = (ready.clone(), drain.clone());
    let admin = Admin::new().route(Method::GET, "/healthz/ready", move |_query| {
        let response = if drain.is_draining() {
            Response::error(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else {
            match (&*unreachable.borrow(), ready.pending().is_empty()) {
                (Some((since, error)), true) => Response::text(format!(
                    "ready, with what was known before {since}: the API server is out of reach: {error}\n"
                )),
                _ => ready.response(),
            }
        };
        async move { response }
    });
    let served = admin.serve_tcp(readiness);
    served.map(drop).map_err(|error| (readiness, error))
}

async fn status(engine: &mpsc::Sender<Event>) -> Response {
    let (reply, document) = oneshot::channel();
    let asked = engine.send(Event::Status(reply)).await.is_ok();
    match document.await {
        Ok(document) if asked => Response::json(&document),
        _ => Response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the controller is ending\n",
        ),
    }
}

async fn dump(engine: &mpsc::Sender<Event>) -> Response {
    let unavailable = || {
        Response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the controller is ending\n",
        )
    };
    let (reply, objects) = oneshot::channel();
    if engine.send(Event::Dump(reply)).await.is_err() {
        return unavailable();
    }
    match objects.await {
        Ok(objects) => Response::json(&serde_json::json!({ "objects": objects })),
        Err(_) => unavailable(),
    }
}
