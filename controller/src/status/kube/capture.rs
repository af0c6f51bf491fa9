//! Capture as agents report it, written down at each pod: the condition `culvert.dev/Captured`. It is how replicas know
//! what another one was told, and what the next one knows after a restart.
//!
//! Invariants: what is written is about that very pod (its uid) and comes from the agent of its node; that a pod was
//! captured is not forgotten before it leaves the mesh.

use std::collections::BTreeMap;
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
use tokio::time::Instant;

use super::denials::Denials;
use super::events;
use crate::admit::{CAPTURE_LOST, CAPTURED};
use crate::model::{Key, Kind, NsName};
use crate::source::kube::{Book, Told};

/// After writes that failed.
const RETRY: Duration = Duration::from_secs(2);
/// One write.
const DEADLINE: Duration = Duration::from_secs(10);
/// Writes at once.
const AT_ONCE: usize = 8;
const MESSAGE: usize = 1024;

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Captures(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<BTreeMap<NsName, Wanted>>,
    denials: Mutex<Denials>,
    news: Notify,
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
    /// The agent of a node said this.
    pub fn said(&self, (node, pods): Reported<'_>) {
        let mut wanted = self.lock();
        // What it does not speak of any more need not be written any more.
        wanted.retain(|_, wanted| !matches!(wanted, Wanted::Said { node: of, .. } if of == node));
        for pod in pods.iter().filter(|pod| !pod.name.is_empty()) {
            let name = NsName::new(pod.namespace.as_str(), pod.name.as_str());
            let said = Wanted::Said {
                node: node.to_owned(),
                uid: pod.uid.clone(),
                capture: pod.capture.clone(),
                message: pod.message.chars().take(MESSAGE).collect(),
            };
            wanted.insert(name, said);
        }
        self.0.news.notify_one();
    }

    /// The ztunnel of a node refused these connections.
    pub fn denied(&self, (node, denials): (&str, &[Denial])) {
        if !denials.is_empty() {
            self.denials().add(node, denials, Instant::now());
            self.0.news.notify_one();
        }
    }

    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.0
            .denials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, pod: &NsName) {
        self.lock().insert(pod.clone(), Wanted::Nothing);
        self.0.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NsName, Wanted>> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write until the drain. Any replica does, for the agents that are connected to it.
    pub async fn run(self, client: Client, book: Book, instance: String, drain: Drain) {
        let reporter = Reporter {
            controller: "culvert.dev/controller".into(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        loop {
            let wanted = std::mem::take(&mut *self.lock());
            let mut failed = false;
            let mut writes = tokio::task::JoinSet::new();
            for (name, wanted) in wanted {
                if writes.len() >= AT_ONCE {
                    failed |= self.done(writes.join_next().await);
                }
                let key = Key {
                    kind: Kind::Pod,
                    name,
                };
                let Some(told) = book.get(&key).filter(|told| wanted.is_of(told)) else {
                    // Its watch may be behind its agent.
                    failed |= self.keep(key.name, wanted);
                    continue;
                };
                if let Some(condition) = condition(&told, &wanted) {
                    let (client, recorder) = (client.clone(), recorder.clone());
                    writes.spawn(async move {
                        let written = write(&client, &recorder, &key, &told, &condition).await;
                        (!written).then_some((key.name, wanted))
                    });
                }
            }
            while !writes.is_empty() {
                failed |= self.done(writes.join_next().await);
            }
            let denied = self.denials().take();
            for denied in denied {
                denied.tell(&book, &client, &reporter).await;
            }
            let pause = if failed { RETRY } else { Duration::MAX };
            tokio::select! {
                () = drain.signaled() => return,
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Whether a write failed; it is then tried again, unless something newer is to be written.
    fn done(
        &self,
        outcome: Option<Result<Option<(NsName, Wanted)>, tokio::task::JoinError>>,
    ) -> bool {
        let Some(Ok(Some((name, wanted)))) = outcome else {
            return false;
        };
        self.keep(name, wanted)
    }

    /// For the next round; whether there is anything to keep.
    fn keep(&self, name: NsName, wanted: Wanted) -> bool {
        let keep = matches!(wanted, Wanted::Said { .. });
        if keep {
            self.lock().entry(name).or_insert(wanted);
        }
        keep
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

/// Whether it need not be tried again.
async fn write(
    client: &Client,
    recorder: &Recorder,
    key: &Key,
    told: &Told,
    condition: &Value,
) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &key.name.namespace);
    let failed = matches!(condition["reason"].as_str(), Some("Failed" | CAPTURE_LOST));
    let message = condition["message"].as_str().unwrap_or_default().to_owned();
    let patch = json!({"metadata": {"uid": told.uid}, "status": {"conditions": [condition]}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let written = pods.patch_status(&key.name.name, &params, &patch);
    match tokio::time::timeout(DEADLINE, written).await {
        Ok(Ok(_)) if failed => {
            events::warn(recorder, key, &told.uid, "CaptureFailed", &message).await;
            true
        }
        Ok(Ok(_)) => true,
        // It is gone, or another pod has its name.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => true,
        Ok(Err(error)) => {
            tracing::warn!(pod = %key.name, %error, "its condition was not written");
            false
        }
        Err(_elapsed) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(capture: &str) -> Wanted {
        Wanted::Said {
            node: "n1".into(),
            uid: "u".into(),
            capture: capture.into(),
            message: "m".into(),
        }
    }

    fn told(status: Value) -> Told {
        Told {
            uid: "u".into(),
            node: "n1".into(),
            status,
            ..Told::default()
        }
    }

    fn is(status: &str, reason: &str) -> Value {
        json!({"type": CAPTURED, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "t"})
    }

    #[test]
    fn what_is_written() {
        let none = Value::Null;
        for (now, capture, expected) in [
            (&none, "captured", Some(("True", "Captured"))),
            (&none, "pending", Some(("False", "Pending"))),
            (&none, "failed", Some(("False", "Failed"))),
            (&none, "released", None),
            (&is("True", "Captured"), "captured", None),
            (&is("True", "Captured"), "pending", None),
            (&is("True", "Captured"), "failed", Some(("False", "Lost"))),
            (&is("False", "Lost"), "pending", None),
            (&is("False", "Lost"), "captured", Some(("True", "Captured"))),
            (&is("False", "Pending"), "pending", None),
        ] {
            let condition = condition(&told(now.clone()), &said(capture));
            let text = |key: &str| condition.as_ref().map(|c| c[key].as_str().unwrap());
            let got = text("status").zip(text("reason"));
            assert_eq!(got, expected, "{now} {capture}");
        }
        for wanted in [said("released"), Wanted::Nothing] {
            let removed = condition(&told(is("True", "Captured")), &wanted).unwrap();
            assert_eq!(removed["$patch"], "delete");
        }
    }

    #[test]
    fn nobody_speaks_for_another_nodes_pod_or_another_pod() {
        let mut elsewhere = told(Value::Null);
        elsewhere.node = "n2".into();
        assert!(!said("captured").is_of(&elsewhere));
        let mut successor = told(Value::Null);
        successor.uid = "v".into();
        assert!(!said("captured").is_of(&successor));
        assert!(said("captured").is_of(&told(Value::Null)));
    }
}
