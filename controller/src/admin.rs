//! The admin endpoint: readiness, metrics, a dump of the cache. On loopback unless the operator says otherwise; the dump
//! holds no secret, since nothing secret is ever in the cache.

use std::net::SocketAddr;

use culvert_runtime::admin::{Admin, Response};
use culvert_runtime::ready::Ready;
use http::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Event;

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
        .route(Method::GET, "/config_dump", move |_query| {
            let engine = engine.clone();
            async move { dump(&engine).await }
        });
    admin.serve_tcp(address)
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
