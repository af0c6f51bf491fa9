//! Tells people through Kubernetes what became of their objects: conditions in statuses, and Events.
//!
//! Invariants: only the leader writes statuses of objects, and only where they differ; a write for an object that has
//! changed meanwhile is refused by the API server and made anew.

mod ancestors;
mod capture;
mod conditions;
mod denials;
mod events;
mod hosts;
mod ingress;
mod ledger;
mod listener_set;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use capture::{Captures, Reported};
pub use conditions::CONTROLLER;
pub use hosts::{Hosts, HostsError};
pub use ledger::{Ledger, LedgerError, Stored};

use super::Verdicts;
use super::document::{Condition, Object};
use crate::engine::Event;
use crate::leader::Leadership;
use crate::model::{Key, Kind, NsName};
use crate::source::Rejection;
use crate::source::Seen;
use crate::source::kube::{Book, Told, resource};
use conditions::Ours;
use events::Events;

/// What is no good, by the object's key as text.
type Rejected = BTreeMap<String, Vec<Rejection>>;

/// Between two rounds, and between two writes of one round.
const INTERVAL: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(20);
/// A round without anything new, for writes that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// One write.
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes statuses while this replica leads.
pub struct Statuses {
    client: Client,
    book: Book,
    captures: Captures,
    events: Events,
}

impl std::fmt::Debug for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statuses").finish_non_exhaustive()
    }
}

impl Statuses {
    /// What is written now is in the book; who is captured is told by others.
    #[must_use]
    pub fn new(client: Client, book: Book, captures: Captures, instance: &str) -> Self {
        Self {
            events: Events::new(client.clone(), instance),
            client,
            book,
            captures,
        }
    }

    /// Write until the drain.
    pub async fn run(
        mut self,
        engine: mpsc::Sender<Event>,
        mut changes: watch::Receiver<u64>,
        mut leadership: Leadership,
        drain: Drain,
    ) {
        loop {
            tokio::select! {
                () = drain.signaled() => return,
                gained = leadership.gained() => if !gained { return },
            }
            self.events.begin(&self.book.all());
            loop {
                changes.mark_unchanged();
                let began = Instant::now();
                let (reply, verdicts) = oneshot::channel();
                if engine.send(Event::Verdicts(reply)).await.is_err() {
                    return;
                }
                let Ok(verdicts) = verdicts.await else { return };
                tokio::select! {
                    () = drain.signaled() => return,
                    () = leadership.lost() => break,
                    () = self.round(verdicts) => {}
                }
                // A large mesh is looked at less often.
                tokio::time::sleep(INTERVAL.max(began.elapsed() * 4)).await;
                tokio::select! {
                    () = drain.signaled() => return,
                    () = leadership.lost() => break,
                    changed = changes.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    }

    async fn round(&mut self, verdicts: Verdicts) {
        let Verdicts {
            objects,
            rejected,
            outsiders,
            gateways,
            ingress_gateway,
            addresses,
            ancestors,
            of_others,
            seen,
            sets,
            orphans,
        } = verdicts;
        let ours = Ours {
            gateways,
            sets,
            orphans,
        };
        let of = |object: Object| {
            let name = NsName::new(object.namespace, object.name);
            let kind = object.kind;
            (Key { kind, name }, object.conditions)
        };
        let found: HashMap<Key, Vec<Condition>> = objects.into_iter().map(of).collect();
        let of = |key: &Key| {
            let found = found.get(key).map(Vec::as_slice).unwrap_or_default();
            let rejected = rejected.get(&key.to_string());
            let rejected = rejected.map(Vec::as_slice).unwrap_or_default();
            (found, rejected)
        };
        let mut all = self.book.all();
        all.retain(|(key, _)| key.kind != Kind::ListenerSet || is_ours(key, &ours, &rejected));
        let stated = all.iter().map(|(key, told)| {
            let mut told = told.clone();
            if key.kind == Kind::Ingress {
                let (found, rejected) = of(key);
                told.status = ingress::wrong(found, rejected);
            }
            (key.clone(), told)
        });
        let stated: Vec<_> = stated.collect();
        self.events.observe(&stated).await;
        let gateway = self.book.get(&Key {
            kind: Kind::Gateway,
            name: ingress_gateway,
        });
        let published = ingress::addresses(gateway.as_ref());
        let now = crate::clock::now().to_string();
        for (key, told) in all {
            let (found, rejected) = of(&key);
            let nothing = found.is_empty() && rejected.is_empty();
            let spoken_of = key.kind == Kind::ListenerSet || of_others.contains(&key);
            if (nothing && !spoken_of) || is_newer(&told, key.kind, &seen) {
                continue;
            }
            let status = match key.kind {
                Kind::Ingress => ingress::status(&told, &published),
                Kind::BackendTlsPolicy => {
                    ancestors::status(&told, found, rejected, ancestors.get(&key.name), &now)
                }
                _ => conditions::status(&key, &told, found, rejected, &ours, &now),
            };
            let status = status.map(|mut status| {
                if let (Kind::ServiceEntry, Some(wish)) = (key.kind, addresses.get(&key.name)) {
                    status["addresses"] = wish.status(&told.status);
                }
                status
            });
            if let Some(status) = status.filter(|status| differs(&told.status, status)) {
                self.write(&key, &told, &status).await;
                tokio::time::sleep(PACE).await;
            }
        }
        for pod in outsiders {
            self.captures.remove(&pod);
        }
    }

    async fn write(&self, key: &Key, told: &Told, status: &Value) {
        let api = api(&self.client, key);
        let patch = json!({"metadata": {"resourceVersion": told.version}, "status": status});
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let written = api.patch_status(&key.name.name, &params, &patch);
        match tokio::time::timeout(DEADLINE, written).await {
            Ok(Ok(_)) => {}
            // It has changed, or is gone: what is right then is found in the next round.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Ok(Err(error)) => tracing::warn!(object = %key, %error, "status not written"),
            Err(_elapsed) => tracing::warn!(object = %key, "status not written in time"),
        }
    }
}

/// Whether the object has changed since it was judged: its status will be of its generation, or not be written.
fn is_newer(told: &Told, kind: Kind, seen: &Seen) -> bool {
    let version = told.version.parse::<u64>();
    version.is_ok_and(|version| version > seen.of(kind))
}

/// Whether a ListenerSet is ours to speak of.
fn is_ours(key: &Key, ours: &Ours, rejected: &Rejected) -> bool {
    ours.sets.contains_key(&key.name)
        || ours.orphans.contains(&key.name)
        || rejected.contains_key(&key.to_string())
}

/// Whether anything of `wanted` is not said yet.
fn differs(now: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted.into_iter().any(|(key, value)| now[key] != *value)
}

/// Objects of a kind in a namespace.
fn api(client: &Client, key: &Key) -> Api<DynamicObject> {
    let (group, version, plural) = resource(key.kind);
    let kind = GroupVersionKind::gvk(group, version, key.kind.as_str());
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
    if key.kind.is_cluster_scoped() || key.kind == Kind::Namespace {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &key.name.namespace, &resource)
    }
}

#[cfg(test)]
mod tests;
