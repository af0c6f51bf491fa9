//! Lists and watches one kind for as long as the program runs.
//!
//! Invariants: an error takes nothing away; that a kind does not exist is believed only of a CustomResourceDefinition
//! that the API server itself says is not there; how far the kind was read is told after all that came before.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Request;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource as _};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::read::{Read, resource, selector};
use super::tables::News;
use crate::metrics;
use crate::model::{Key, Kind, NsName};
use crate::source::Seen;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Between two looks for a kind that does not exist.
const LOOK: Duration = Duration::from_secs(3);
/// After a failure; doubled with each, up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long a watch is open, in seconds.
const OPEN: u32 = 290;
/// The same where somebody waits to know how far it is. An API server says it two seconds before the end of a watch, and
/// of itself only each minute.
const OPEN_BRIEFLY: u32 = 3;
/// On what a list ends that is streamed.
const LISTED: &str = "k8s.io/initial-events-end";
/// A watch that says nothing for so long after it should have ended is dead.
const DEAD: Duration = Duration::from_secs(5);

/// Why a list or watch ends before its time.
enum Stop {
    /// The listener has gone: the program ends.
    Ended,
    Failed(kube::Error),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error)
    }
}

/// Follow kind `Kind::ALL[KIND]`. Whoever sets a goal wants to know soon that the kind was read so far.
pub(super) async fn follow<const KIND: usize>(
    client: Client,
    news: mpsc::Sender<News>,
    goal: watch::Receiver<Seen>,
) {
    let kind = Kind::ALL[KIND];
    let mut follower = Follower::<KIND> {
        api: Api::all(client.clone()),
        news,
        goal,
        streams: true,
        at: None,
        wait: BACKOFF.0,
    };
    loop {
        let ended = match follower.round(&client).await {
            Ok(()) => continue,
            Err(Stop::Ended) => return,
            Err(Stop::Failed(error)) => error,
        };
        failed(kind, &ended);
        match ended {
            // The version is too old, or the kind may have gone.
            kube::Error::Api(status) if matches!(status.code, 404 | 410) => follower.at = None,
            kube::Error::Api(status) if matches!(status.code, 400 | 422) && follower.streams => {
                follower.streams = false;
                continue;
            }
            _ => {}
        }
        pause(&mut follower.wait).await;
    }
}

struct Follower<const KIND: usize> {
    api: Api<Read<KIND>>,
    news: mpsc::Sender<News>,
    goal: watch::Receiver<Seen>,
    /// An older API server does not stream lists.
    streams: bool,
    /// The version to go on from; without one the kind is to be listed.
    at: Option<String>,
    wait: Duration,
}

impl<const KIND: usize> Follower<KIND> {
    const KIND: Kind = Kind::ALL[KIND];

    /// One list, if it takes one, and one watch.
    async fn round(&mut self, client: &Client) -> Result<(), Stop> {
        if self.at.is_none() && !exists(client, Self::KIND).await? {
            // There is no such kind, so there are no objects of it.
            self.tell(News::Begin(Self::KIND)).await?;
            self.tell(News::End(Self::KIND)).await?;
            tokio::time::sleep(LOOK).await;
            return Ok(());
        }
        if self.at.is_none() && !self.streams {
            self.list().await?;
        }
        self.watch().await
    }

    async fn list(&mut self) -> Result<(), Stop> {
        let mut params = ListParams {
            field_selector: selector(Self::KIND),
            ..ListParams::default().limit(PAGE)
        };
        self.tell(News::Begin(Self::KIND)).await?;
        loop {
            let page = self.api.list(&params).await?;
            for read in page.items {
                self.tell(News::There(Box::new(read.looked))).await?;
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.tell(News::End(Self::KIND)).await?;
                return self.reached(page.metadata.resource_version).await;
            }
        }
    }

    /// A watch, to its end. Where there was no list, it begins with one.
    async fn watch(&mut self) -> Result<(), Stop> {
        let from = self.at.clone();
        let mut listing = from.is_none();
        let brief = !listing && self.goal.borrow().of(Self::KIND) > self.position();
        let params = WatchParams {
            timeout: Some(if brief { OPEN_BRIEFLY } else { OPEN }),
            send_initial_events: listing,
            field_selector: selector(Self::KIND),
            ..WatchParams::default()
        };
        let dead = Duration::from_secs(params.timeout.unwrap_or(OPEN).into()) + DEAD;
        let position = self.position();
        let opened = tokio::select! {
            opened = timeout(dead, self.api.watch(&params, from.as_deref().unwrap_or(""))) => opened,
            () = called(&mut self.goal, Self::KIND, position), if !listing && !brief => return Ok(()),
        };
        let Ok(opened) = opened else {
            return Ok(());
        };
        let mut events = pin!(opened?);
        if listing {
            self.tell(News::Begin(Self::KIND)).await?;
        }
        let mut silent = true;
        loop {
            let position = self.position();
            let event = tokio::select! {
                event = timeout(dead, events.next()) => event.ok().flatten(),
                () = called(&mut self.goal, Self::KIND, position), if !listing && !brief => return Ok(()),
            };
            let Some(event) = event else {
                if silent {
                    pause(&mut self.wait).await;
                }
                return Ok(());
            };
            let event = event?;
            silent = false;
            self.wait = BACKOFF.0;
            match event {
                WatchEvent::Added(read) | WatchEvent::Modified(read) => {
                    let version = read.meta().resource_version.clone();
                    self.tell(News::There(Box::new(read.looked))).await?;
                    if !listing {
                        self.reached(version).await?;
                    }
                }
                WatchEvent::Deleted(read) => {
                    let meta = read.meta();
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    let name = NsName::new(text(&meta.namespace), text(&meta.name));
                    let kind = Self::KIND;
                    self.tell(News::Gone(Key { kind, name })).await?;
                    self.reached(meta.resource_version.clone()).await?;
                }
                WatchEvent::Bookmark(mark) => {
                    let ends = mark.metadata.annotations.contains_key(LISTED);
                    if listing && ends {
                        self.tell(News::End(Self::KIND)).await?;
                        listing = false;
                    }
                    if !listing {
                        self.reached(Some(mark.metadata.resource_version)).await?;
                    }
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            }
        }
    }

    /// All up to this version was told.
    async fn reached(&mut self, version: Option<String>) -> Result<(), Stop> {
        self.at = version.filter(|version| !version.is_empty());
        self.tell(News::At(Self::KIND, self.position())).await
    }

    fn position(&self) -> u64 {
        let version = self.at.as_ref().and_then(|version| version.parse().ok());
        version.unwrap_or_default()
    }

    async fn tell(&self, news: News) -> Result<(), Stop> {
        self.news.send(news).await.map_err(|_| Stop::Ended)
    }
}

/// Ends when somebody wants to know that a kind was read farther than this.
async fn called(goal: &mut watch::Receiver<Seen>, kind: Kind, position: u64) {
    if goal
        .wait_for(|goal| goal.of(kind) > position)
        .await
        .is_err()
    {
        // Nobody will any more.
        pending::<()>().await;
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
pub(super) async fn exists(client: &Client, kind: Kind) -> Result<bool, kube::Error> {
    if !kind.is_custom() {
        return Ok(true);
    }
    let (group, version, plural) = resource(kind);
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

    const MESH_CONFIG: usize = 11;

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
    async fn kubernetes_own_kinds_are_there_whatever_is_defined() {
        let nothing = tower::service_fn(async |_: Request<Body>| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(404).body(body).unwrap())
        });
        let client = Client::new(nothing, "default");
        let mut there = Vec::new();
        for kind in Kind::ALL {
            if exists(&client, kind).await.unwrap() {
                there.push(kind);
            }
        }
        use Kind::*;
        let own = [
            Namespace,
            Node,
            Pod,
            Service,
            EndpointSlice,
            ServiceAccount,
            NetworkPolicy,
            Secret,
            Ingress,
            IngressClass,
            ConfigMap,
        ];
        assert_eq!(there, own);
    }

    #[tokio::test]
    async fn a_kind_that_does_not_exist_yet_is_waited_for() {
        assert_eq!(Kind::ALL[MESH_CONFIG], Kind::MeshConfig);
        let defined = Arc::new(AtomicBool::new(false));
        let (news, mut told) = mpsc::channel(4);
        let (_setter, goal) = watch::channel(Seen::default());
        let follow = tokio::spawn(follow::<MESH_CONFIG>(server(&defined), news, goal));
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
