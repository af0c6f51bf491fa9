//! Writes to the API server: many at once, boundedly.

use super::objects::{Creation, Pod, Size};
use anyhow::{Context, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Requests under way.
const AT_ONCE: usize = 64;

/// Several clients, since each keeps few connections open.
#[derive(Clone)]
pub(crate) struct Writer {
    clients: Arc<[kube::Client]>,
    next: Arc<AtomicUsize>,
}

impl Writer {
    pub(crate) fn new(clients: Vec<kube::Client>) -> Self {
        Self {
            clients: clients.into(),
            next: Arc::default(),
        }
    }

    /// How many clients make all connections last.
    pub(crate) const CLIENTS: usize = AT_ONCE / 8;

    /// One after the other.
    pub(crate) fn client(&self) -> &kube::Client {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.clients[next % self.clients.len()]
    }
}

/// One write.
pub(crate) async fn write(
    client: &Writer,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value> {
    let kind = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = http::Request::builder()
        .method(&method)
        .uri(path)
        .header("content-type", kind)
        .body(serde_json::to_vec(body)?)?;
    let answer = client.client().request::<Value>(request).await;
    answer.with_context(|| format!("{method} {path}"))
}

/// Creates all of these, and says how many a second.
pub(crate) async fn create(client: &Writer, what: &str, all: Vec<Creation>) -> Result<Vec<Value>> {
    let (count, began) = (all.len(), Instant::now());
    let writes = all
        .into_iter()
        .map(|(path, value)| async move { write(client, Method::POST, &path, &value).await });
    let made = stream::iter(writes).buffered(AT_ONCE).try_collect().await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = count as f64 / began.elapsed().as_secs_f64();
    eprintln!("{count} {what}, {rate:.0} a second");
    Ok(made)
}

/// Creates all pods, each running and captured.
pub(crate) async fn create_pods(client: &Writer, size: Size) -> Result<()> {
    let began = Instant::now();
    let writes = (0..size.pods).map(|index| async move {
        let pod = Pod {
            index,
            generation: 0,
        };
        let (path, value) = size.pod(pod);
        write(client, Method::POST, &path, &value).await?;
        run(client, size, pod).await
    });
    stream::iter(writes)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    eprintln!(
        "{} pods in {:.0} s",
        size.pods,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Says that a pod runs.
pub(crate) async fn run(client: &Writer, size: Size, pod: Pod) -> Result<()> {
    let path = format!("{}/status", pod.path(size));
    write(client, Method::PATCH, &path, &pod.status())
        .await
        .map(drop)
}

/// A service-account token as kubelet gets it for a pod of a node's proxy.
pub(crate) async fn token(client: &Writer, pod: &str, uid: &str) -> Result<String> {
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/culvert-ztunnel/token",
        super::objects::SYSTEM
    );
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": ["culvert-ca"], "expirationSeconds": 7200, "boundObjectRef": bound}});
    let answer = write(client, Method::POST, &path, &request).await?;
    let token = answer.pointer("/status/token").and_then(Value::as_str);
    token
        .map(str::to_owned)
        .context("the answer holds no token")
}
