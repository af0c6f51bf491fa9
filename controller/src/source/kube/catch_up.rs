//! Makes sure that what is served is no older than what the API server had when somebody asked for that.
//!
//! One round serves all who ask before it begins: a consistent read of each kind's version, for one object each; watches
//! that are not so far are opened anew, so that the API server says how far they are; then it is waited for until the
//! engine has taken that. Invariant: who asked is told only after a round that began after they asked.

use std::time::Duration;

use culvert_runtime::drain::Drain;
use culvert_runtime::task;
use futures_util::future::try_join_all;
use http::Request;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::read::{resource, selector};
use super::watch::exists;
use crate::metrics;
use crate::model::Kind;
use crate::source::Seen;

/// How long the API server may take to say where it stands.
const READ: Duration = Duration::from_secs(10);
/// Between two tries while it does not; doubled with each, up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// After this it is asked again where it stands: a kind may have gone meanwhile.
const AGAIN: Duration = Duration::from_secs(30);

/// Where to ask.
#[derive(Clone, Debug)]
pub struct CatchUp(mpsc::UnboundedSender<oneshot::Sender<()>>);

/// Why it is not known where the API server stands.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the list of {0} has no version that is a number")]
    Version(Kind),
    #[error("no answer in {READ:?}")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl CatchUp {
    /// Watches go by the goal; what the engine has taken is `taken`.
    pub(super) fn begin(
        client: Client,
        goal: watch::Sender<Seen>,
        taken: watch::Receiver<Seen>,
        drain: Drain,
    ) -> Self {
        let (sender, asks) = mpsc::unbounded_channel();
        task::spawn("kube_catch_up", async move {
            tokio::select! {
                () = drain.signaled() => {}
                () = run(&client, &goal, taken, asks) => {}
            }
        });
        Self(sender)
    }

    /// Told when what is served is as new as the API server is now; never if the program ends before.
    #[must_use]
    pub fn ask(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        // Without the task the program is ending.
        let _ = self.0.send(tell);
        told
    }
}

async fn run(
    client: &Client,
    goal: &watch::Sender<Seen>,
    mut taken: watch::Receiver<Seen>,
    mut asks: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    let mut asked = Vec::new();
    while asks.recv_many(&mut asked, usize::MAX).await > 0 {
        loop {
            goal.send_replace(stands(client).await);
            let wanted = goal.borrow().clone();
            let there = taken.wait_for(|taken| taken.behind(&wanted).next().is_none());
            let there = timeout(AGAIN, there).await.map(|there| there.is_ok());
            match there {
                Ok(true) => break,
                Ok(false) => return,
                Err(_elapsed) => {
                    let behind: Vec<_> = taken.borrow().behind(&wanted).collect();
                    metrics::observe_behind(&behind);
                    tracing::warn!(?behind, "not caught up with the API server");
                }
            }
        }
        metrics::observe_behind(&[]);
        for asked in asked.drain(..) {
            // Who asked may have gone.
            let _ = asked.send(());
        }
    }
}

/// Where the API server stands, as soon as it says so.
async fn stands(client: &Client) -> Seen {
    let mut wait = BACKOFF.0;
    loop {
        let versions = try_join_all(Kind::ALL.map(|kind| version(client, kind)));
        match timeout(READ, versions).await.map_err(CatchUpError::from) {
            Ok(Ok(versions)) => return versions.into_iter().flatten().collect(),
            Ok(Err(error)) | Err(error) => {
                tracing::debug!(%error, "where the API server stands is not known");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// A kind's version, if there is such a kind. Without a version in the question it is a consistent read.
async fn version(client: &Client, kind: Kind) -> Result<Option<(Kind, u64)>, CatchUpError> {
    let (group, version, plural) = resource(kind);
    let root = if group.is_empty() { "api" } else { "apis/" };
    let mut path = format!("/{root}{group}/{version}/{plural}?limit=1");
    if let Some(selector) = selector(kind) {
        let selector = selector.replace('=', "%3D").replace('/', "%2F");
        path = format!("{path}&fieldSelector={selector}");
    }
    let request = Request::get(path);
    let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
    let list = match client.request::<Value>(request).await {
        Ok(list) => list,
        // It may be that only this path is not served yet.
        Err(kube::Error::Api(status)) if status.code == 404 && !exists(client, kind).await? => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let version = list["metadata"]["resourceVersion"].as_str();
    let version = version.and_then(|version| version.parse().ok());
    let version = version.ok_or(CatchUpError::Version(kind))?;
    Ok(Some((kind, version)))
}
