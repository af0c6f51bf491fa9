//! Capture as agents report it, written down at each pod: the condition `culvert.dev/Captured`. It is the only thing by
//! which replicas, the one that heard the agent too, let peers use HBONE, and what the next start knows.
//!
//! Invariants: what is written is about that very pod (its uid) and comes from the agent of its node; that a pod was
//! captured is not forgotten before it leaves the mesh: nothing but "captured" is written over what another replica wrote
//! meanwhile; what cannot be written is tried until it is, or until its agent says something else.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_proto::node::{Denial, PodState};
use culvert_runtime::drain::Drain;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::denials::Denials;
use super::events;
use super::queue::{Queue, Turn};
use crate::admit::{CAPTURE_LOST, CAPTURED};
use crate::model::{Key, Kind, NsName};
use crate::source::kube::{Book, Told};

/// One write.
const DEADLINE: Duration = Duration::from_secs(10);
/// Writes at once: peers wait for them.
const AT_ONCE: usize = 32;
/// Without anything to write.
const IDLE: Duration = Duration::from_secs(3600);
const MESSAGE: usize = 1024;

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Captures(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Queue<Wanted>>,
    denials: Mutex<Denials>,
    news: Notify,
    denied: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// What the agent of this node says of the pod of this uid.
    Said {
        node: String,
        uid: String,
        capture: String,
        message: String,
    },
    /// The pod is not in the mesh.
    Nothing,
}

/// What an agent said, for [`Captures::said`].
pub type Reported<'a> = (&'a str, &'a [PodState]);

impl Captures {
    /// The agent of a node said this. It says all that it knows, and says it again every few seconds.
    pub fn said(&self, (node, pods): Reported<'_>) {
        let mut wanted = self.lock();
        let now = Instant::now();
        let said: std::collections::BTreeSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
        // What it does not speak of any more need not be written any more.
        wanted.retain(|wanted| match wanted {
            Wanted::Said { node: of, uid, .. } => of != node || said.contains(uid.as_str()),
            Wanted::Nothing => true,
        });
        for pod in pods.iter().filter(|pod| !pod.name.is_empty()) {
            let name = NsName::new(pod.namespace.as_str(), pod.name.as_str());
            let said = Wanted::Said {
                node: node.to_owned(),
                uid: pod.uid.clone(),
                capture: pod.capture.clone(),
                message: pod.message.chars().take(MESSAGE).collect(),
            };
            wanted.put(name, said, now);
        }
        self.0.news.notify_one();
    }

    /// The ztunnel of a node refused these connections.
    pub fn denied(&self, (node, denials): (&str, &[Denial])) {
        if !denials.is_empty() {
            self.denials().add(node, denials, Instant::now());
            self.0.denied.notify_one();
        }
    }

    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.0
            .denials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, pod: &NsName) {
        self.lock()
            .put(pod.clone(), Wanted::Nothing, Instant::now());
        self.0.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Wanted>> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write until the drain. Any replica does, for the agents that are connected to it.
    pub async fn run(self, client: Client, book: Book, instance: String, drain: Drain) {
        let reporter = Reporter {
            controller: "culvert.dev/controller".into(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let writing = self.write(&book, |turn, told, condition| {
            let (client, recorder) = (client.clone(), recorder.clone());
            async move { write(&client, &recorder, turn, &told, &condition).await }
        });
        tokio::select! {
            () = drain.signaled() => {}
            () = writing => {}
            () = self.tell(&client, &book, &reporter) => {}
        }
    }

    /// Each as soon as it is due, so many at once.
    async fn write<F>(&self, book: &Book, start: impl Fn(Turn<Wanted>, Told, Value) -> F)
    where
        F: Future<Output = (Turn<Wanted>, bool)> + Send + 'static,
    {
        let mut writes = JoinSet::new();
        loop {
            while writes.len() < AT_ONCE {
                let Some(turn) = self.lock().next(Instant::now()) else {
                    break;
                };
                match look(book, &turn) {
                    Look::Write(told, condition) => {
                        drop(writes.spawn(start(turn, *told, condition)))
                    }
                    Look::Said => self.lock().done(turn, false, Instant::now()),
                    Look::NotThere => {
                        // The watch may be behind the agent. After a while the agent has said it anew, or not.
                        let again = !turn.is_late() && turn.word != Wanted::Nothing;
                        self.lock().done(turn, again, Instant::now());
                    }
                }
            }
            let due = self.lock().until().filter(|_| writes.len() < AT_ONCE);
            let due = due.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                () = self.0.news.notified() => {}
                () = tokio::time::sleep_until(due) => {}
                Some(done) = writes.join_next() => {
                    if let Ok((turn, failed)) = done {
                        let again = failed && turn.word != Wanted::Nothing;
                        self.lock().done(turn, again, Instant::now());
                    }
                }
            }
        }
    }

    /// Denials wait for nothing that is written, and nothing waits for them.
    async fn tell(&self, client: &Client, book: &Book, reporter: &Reporter) {
        loop {
            let denied = self.denials().take();
            for denied in denied {
                denied.tell(book, client, reporter).await;
            }
            self.0.denied.notified().await;
        }
    }
}

/// What there is to do.
enum Look {
    /// Write this condition.
    Write(Box<Told>, Value),
    /// The pod has it.
    Said,
    /// There is no such pod.
    NotThere,
}

fn look(book: &Book, turn: &Turn<Wanted>) -> Look {
    let key = Key {
        kind: Kind::Pod,
        name: turn.name.clone(),
    };
    let Some(told) = book.get(&key).filter(|told| turn.word.is_of(told)) else {
        return Look::NotThere;
    };
    match condition(&told, &turn.word) {
        Some(condition) => Look::Write(Box::new(told), condition),
        None => Look::Said,
    }
}

impl Wanted {
    /// Whether it is about this pod.
    fn is_of(&self, told: &Told) -> bool {
        match self {
            Self::Said { node, uid, .. } => *uid == told.uid && *node == told.node,
            Self::Nothing => true,
        }
    }
}

/// The condition to write, if the pod has another one.
fn condition(told: &Told, wanted: &Wanted) -> Option<Value> {
    let now = &told.status;
    let text = |key: &str| now[key].as_str().unwrap_or_default();
    let remove = || (!now.is_null()).then(|| json!({"$patch": "delete", "type": CAPTURED}));
    let Wanted::Said {
        capture, message, ..
    } = wanted
    else {
        return remove();
    };
    let was = text("status") == "True" || text("reason") == CAPTURE_LOST;
    let (status, reason) = match capture.as_str() {
        "captured" => ("True", "Captured"),
        "released" => return remove(),
        "failed" if was => ("False", CAPTURE_LOST),
        "failed" => ("False", "Failed"),
        // An agent that has just started looks again at what is in place.
        _ if was => return None,
        _ => ("False", "Pending"),
    };
    let same = text("status") == status && text("reason") == reason && text("message") == *message;
    if same {
        return None;
    }
    let since = (text("status") == status).then(|| text("lastTransitionTime").to_owned());
    let since = since.filter(|since| !since.is_empty());
    Some(json!({
        "type": CAPTURED, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| crate::clock::now().to_string()),
    }))
}

/// Write it; whether it is to be tried again.
async fn write(
    client: &Client,
    recorder: &Recorder,
    turn: Turn<Wanted>,
    told: &Told,
    condition: &Value,
) -> (Turn<Wanted>, bool) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &turn.name.namespace);
    let bad = matches!(condition["reason"].as_str(), Some("Failed" | CAPTURE_LOST));
    let mut metadata = json!({"uid": told.uid});
    if condition["status"] != "True" {
        // Made from what we know of the pod. If that is no longer so, another replica may have written that it is captured.
        metadata["resourceVersion"] = told.version.as_str().into();
    }
    let patch = json!({"metadata": metadata, "status": {"conditions": [condition]}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let written = pods.patch_status(&turn.name.name, &params, &patch);
    let failed = match tokio::time::timeout(DEADLINE, written).await {
        Ok(Ok(_)) => {
            if bad {
                let message = condition["message"].as_str().unwrap_or_default();
                let key = Key {
                    kind: Kind::Pod,
                    name: turn.name.clone(),
                };
                events::warn(recorder, &key, &told.uid, "CaptureFailed", message).await;
            }
            false
        }
        // It is gone.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 422) => false,
        // It has changed, or another pod has its name: what is right then is seen when the watch has told of it.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => true,
        Ok(Err(error)) => {
            tracing::warn!(pod = %turn.name, %error, "its condition was not written, and is tried again");
            true
        }
        Err(_elapsed) => {
            tracing::warn!(pod = %turn.name, "its condition was not written in time, and is tried again");
            true
        }
    };
    (turn, failed)
}

#[cfg(test)]
mod tests;
