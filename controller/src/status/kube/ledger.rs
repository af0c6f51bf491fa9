//! Which waypoints were ever programmed, written down in a ConfigMap of our own: a Gateway says it only as long as it
//! exists, and what it served must not be let past it because a controller was restarted after it was deleted.
//!
//! Invariants: an entry is there before the waypoint is mandatory for anybody, and goes only when nobody asks for the
//! waypoint any more and its Gateway is gone; what cannot be read is never taken for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_runtime::drain::Drain;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

use super::queue::BACKOFF;
use crate::engine::Event;
use crate::leader::Leadership;
use crate::model::{NsName, Purpose};
use crate::world::Wishes;

/// The ConfigMap. Each key is NAMESPACE_NAME of a Gateway, each value what its waypoint was for. The API server takes a
/// mebibyte of it: some thousands of waypoints. One that finds no place is not programmed.
const MAP: &str = "culvert-waypoints";
/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert-controller-waypoints";
/// One write.
const DEADLINE: Duration = Duration::from_secs(10);
/// A wish that is still there is written again.
const AGAIN: Duration = Duration::from_secs(10);

/// What was written.
pub type Stored = BTreeMap<NsName, Purpose>;

/// Why it is not known what was written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The API server does not say.
    #[error("ConfigMap {MAP}: {0}")]
    Api(#[from] Box<kube::Error>),
    /// Somebody wrote something else.
    #[error(
        "ConfigMap {MAP}: {key}: {value:?} is no entry: NAMESPACE_NAME of a Gateway with service, workload or all; repair it, \
         or remove it, and what its waypoint served is let past it if its Gateway is gone"
    )]
    Malformed {
        /// Where.
        key: String,
        /// What.
        value: String,
    },
}

/// The ConfigMap.
#[derive(Clone, Debug)]
pub struct Ledger(Api<ConfigMap>);

impl Ledger {
    /// The one in our own namespace.
    #[must_use]
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self(Api::namespaced(client.clone(), namespace))
    }

    /// What is written.
    pub async fn load(&self) -> Result<Stored, LedgerError> {
        let map = self.0.get_opt(MAP).await.map_err(Box::new)?;
        read(map.as_ref())
    }

    /// Write these and no longer those. It is there when this returns.
    pub async fn write(&self, wishes: &Wishes) -> Result<(), kube::Error> {
        let keep = wishes
            .keep
            .iter()
            .map(|(name, purpose)| (key(name), Value::from(purpose.as_str())));
        let forget = wishes.forget.iter().map(|name| (key(name), Value::Null));
        let data: Map<String, Value> = keep.chain(forget).collect();
        if data.is_empty() {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "data": data }));
        let params = PatchParams::default();
        match self.0.patch(MAP, &params, &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            done => return done.map(|_| ()),
        }
        // Applied, so that creating has a name, which RBAC asks for, and so that of two that do it none undoes the other's.
        let labels = json!({"app.kubernetes.io/name": "culvert-controller", "app.kubernetes.io/part-of": "culvert"});
        let empty = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP, "labels": labels},
        });
        let made = PatchParams::apply(MANAGER).force();
        self.0.patch(MAP, &made, &Patch::Apply(&empty)).await?;
        self.0.patch(MAP, &params, &patch).await.map(|_| ())
    }

    /// Tell what is written, whoever wrote it, until the drain.
    pub async fn follow(self, events: mpsc::Sender<Event>, drain: Drain) {
        let mut stream = watcher::watch_object(self.0, MAP).default_backoff().boxed();
        loop {
            let map = tokio::select! {
                () = drain.signaled() => return,
                map = stream.next() => map,
            };
            match map {
                Some(Ok(map)) => match read(map.as_ref()) {
                    Ok(stored) => {
                        if events.send(Event::Stored(stored)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "what was known before stays in force");
                    }
                },
                Some(Err(error)) => tracing::debug!(%error, "watching {MAP}"),
                None => return,
            }
        }
    }

    /// Write what the engine wishes until the drain. Any replica adds; the one that leads also removes.
    pub async fn run(
        self,
        mut wishes: watch::Receiver<Wishes>,
        leadership: Leadership,
        drain: Drain,
    ) {
        let mut wait = BACKOFF.0;
        loop {
            let mut wished = wishes.borrow_and_update().clone();
            if !leadership.leads() {
                wished.forget.clear();
            }
            let written = tokio::time::timeout(DEADLINE, self.write(&wished)).await;
            let pause = match written {
                Ok(Ok(())) => {
                    wait = BACKOFF.0;
                    AGAIN
                }
                failed => {
                    let error = failed.map_or_else(|e| e.to_string(), |e| error_of(e.err()));
                    tracing::warn!(
                        error,
                        "which waypoints are programmed was not written, and is tried again"
                    );
                    let pause = wait;
                    wait = (wait * 2).min(BACKOFF.1);
                    pause
                }
            };
            tokio::select! {
                () = drain.signaled() => return,
                changed = wishes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

fn error_of(error: Option<kube::Error>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// No namespace or Gateway has an underscore in its name.
fn key(waypoint: &NsName) -> String {
    format!("{}_{}", waypoint.namespace, waypoint.name)
}

fn read(map: Option<&ConfigMap>) -> Result<Stored, LedgerError> {
    let data = map.and_then(|map| map.data.as_ref());
    let entry = |(key, value): (&String, &String)| {
        let name = key.split_once('_');
        let name = name.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let entry = name.map(|(ns, name)| NsName::new(ns, name));
        let entry = entry.zip(Purpose::parse(value));
        entry.ok_or_else(|| LedgerError::Malformed {
            key: key.clone(),
            value: value.chars().take(64).collect(),
        })
    };
    data.into_iter().flatten().map(entry).collect()
}

#[cfg(test)]
mod tests;
