//! Lists and watches one kind for as long as the program runs.
//!
//! Invariants: an error takes nothing away; that a kind does not exist is believed only of a CustomResourceDefinition
//! that the API server itself says is not there.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::Request;
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::{Api, Client, Resource as _};
use serde_json::Value;
use tokio::sync::mpsc;

use super::read::{Read, resource};
use super::tables::News;
use crate::metrics;
use crate::model::{Key, Kind, NsName};

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Between two looks for a kind that does not exist.
const LOOK: Duration = Duration::from_secs(3);
/// After a failure; doubled with each, up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The listener has gone: the program ends.
struct Ended;

/// Follow kind `Kind::ALL[KIND]`.
pub(super) async fn follow<const KIND: usize>(client: Client, news: mpsc::Sender<News>) {
    let kind = Kind::ALL[KIND];
    let mut wait = BACKOFF.0;
    // An older API server does not stream lists.
    let mut strategy = InitialListStrategy::StreamingList;
    loop {
        match exists(&client, kind).await {
            Ok(true) => {}
            Ok(false) => {
                if absent(kind, &news).await.is_err() {
                    return;
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(error) => {
                failed(kind, &error);
                pause(&mut wait).await;
                continue;
            }
        }
        let config = watcher::Config {
            page_size: Some(PAGE),
            initial_list_strategy: strategy.clone(),
            ..watcher::Config::default()
        };
        let mut stream = watcher::watcher(Api::<Read<KIND>>::all(client.clone()), config).boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    wait = BACKOFF.0;
                    if told(kind, event, &news).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    failed(kind, &error);
                    let code = code(&error);
                    if matches!(code, Some(400 | 422))
                        && strategy == InitialListStrategy::StreamingList
                    {
                        strategy = InitialListStrategy::ListWatch;
                        break;
                    }
                    pause(&mut wait).await;
                    if code == Some(404) {
                        break;
                    }
                }
            }
        }
    }
}

async fn told<const KIND: usize>(
    kind: Kind,
    event: Event<Read<KIND>>,
    news: &mpsc::Sender<News>,
) -> Result<(), Ended> {
    let item = match event {
        Event::Init => News::Begin(kind),
        Event::InitApply(read) | Event::Apply(read) => News::There(Box::new(read.looked)),
        Event::InitDone => News::End(kind),
        Event::Delete(read) => {
            let meta = read.meta();
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let name = NsName::new(text(&meta.namespace), text(&meta.name));
            News::Gone(Key { kind, name })
        }
    };
    news.send(item).await.map_err(|_| Ended)
}

/// There is no such kind, so there are no objects of it.
async fn absent(kind: Kind, news: &mpsc::Sender<News>) -> Result<(), Ended> {
    for item in [News::Begin(kind), News::End(kind)] {
        news.send(item).await.map_err(|_| Ended)?;
    }
    Ok(())
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

fn failed(kind: Kind, error: &dyn std::error::Error) {
    let kind = kind.as_str();
    metrics::WATCH_ERRORS.with_label_values(&[kind]).inc();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    tracing::debug!(kind, error = text, "watching");
}

async fn pause(wait: &mut Duration) {
    let jitter = 0.75 + f64::from(u8::from_be_bytes(random())) / 512.0;
    tokio::time::sleep(wait.mul_f64(jitter)).await;
    *wait = (*wait * 2).min(BACKOFF.1);
}

fn random() -> [u8; 1] {
    let mut byte = [0];
    // Without randomness the pause is merely the same for all.
    let _ = boring::rand::rand_bytes(&mut byte);
    byte
}

/// Whether the API server has a kind. Its own kinds it always has.
async fn exists(client: &Client, kind: Kind) -> Result<bool, kube::Error> {
    let (group, version, plural) = resource(kind);
    if group.is_empty() || group == "discovery.k8s.io" {
        return Ok(true);
    }
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}");
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(definition) => Ok(served(&definition, version)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        // Without the right to look, the watch itself says it.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(error) => Err(error),
    }
}

fn served(definition: &Value, version: &str) -> bool {
    let versions = definition["spec"]["versions"].as_array().into_iter();
    versions
        .flatten()
        .any(|v| v["name"] == version && v["served"] == true)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::Response;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    const MESH_CONFIG: usize = 9;

    /// An API server without streaming lists, whose MeshConfig may not be defined yet.
    fn server(defined: &Arc<AtomicBool>) -> Client {
        let defined = Arc::clone(defined);
        let service = tower::service_fn(move |request: Request<Body>| {
            let there = defined.load(Ordering::Relaxed);
            let query = request.uri().query().unwrap_or_default().to_owned();
            let failed = |code: u16, reason: &str| {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "x", "reason": reason, "code": code});
                (code, status.to_string())
            };
            let definition = json!({"spec": {"versions": [{"name": "v1alpha1", "served": true}]}});
            let object = json!({"metadata": {"name": "default", "uid": "u", "resourceVersion": "1"}, "spec": {}});
            let list = json!({"kind": "MeshConfigList", "apiVersion": "culvert.dev/v1alpha1", "metadata": {"resourceVersion": "1"}, "items": [object]});
            let (code, body) = match request.uri().path() {
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/meshconfigs.culvert.dev" => {
                    if there {
                        (200, definition.to_string())
                    } else {
                        failed(404, "NotFound")
                    }
                }
                "/apis/culvert.dev/v1alpha1/meshconfigs" if query.contains("sendInitialEvents") => {
                    failed(422, "Invalid")
                }
                "/apis/culvert.dev/v1alpha1/meshconfigs" if query.contains("watch=true") => {
                    (200, String::new())
                }
                "/apis/culvert.dev/v1alpha1/meshconfigs" => (200, list.to_string()),
                other => panic!("{other}"),
            };
            let response = Response::builder()
                .status(code)
                .body(Body::from(body.into_bytes()));
            async move { Ok::<_, Infallible>(response.unwrap()) }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_kind_that_does_not_exist_yet_is_waited_for() {
        assert_eq!(Kind::ALL[MESH_CONFIG], Kind::MeshConfig);
        let defined = Arc::new(AtomicBool::new(false));
        let (news, mut told) = mpsc::channel(4);
        let follow = tokio::spawn(follow::<MESH_CONFIG>(server(&defined), news));
        // That there is none is a complete list of its own, so that nothing else waits for it.
        assert!(matches!(
            told.recv().await,
            Some(News::Begin(Kind::MeshConfig))
        ));
        assert!(matches!(
            told.recv().await,
            Some(News::End(Kind::MeshConfig))
        ));
        defined.store(true, Ordering::Relaxed);
        let there = loop {
            match told.recv().await {
                Some(News::There(looked)) => break looked,
                Some(_) => {}
                None => panic!("it ended"),
            }
        };
        assert_eq!(there.key.to_string(), "MeshConfig default");
        assert!(matches!(
            there.outcome,
            super::super::read::Outcome::Good(_)
        ));
        follow.abort();
    }
}
