//! Which namespace has which host of Ingresses, written down in a ConfigMap of our own: when an Ingress was made says
//! nothing of since when it has asked for a host.
//!
//! Invariant: what cannot be read is never taken for nothing.

use std::time::Duration;

use culvert_runtime::drain::Drain;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

use crate::admit::{dns_label, dns_subdomain};
use crate::engine::Event;
use crate::leader::Leadership;
use crate::world::Owners;

/// The ConfigMap. Each key is a host, each value a namespace. The API server takes a mebibyte of it: some ten thousand
/// hosts.
const MAP: &str = "culvert-ingress-hosts";
/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert-controller-hosts";
/// In place of the asterisk of a wildcard, and of the host that stands for all others. No name of DNS has it.
const WILDCARD: &str = "_";
/// One round of reading and writing.
const DEADLINE: Duration = Duration::from_secs(10);
/// Without anything new, for writes that failed and for what others changed.
const AGAIN: Duration = Duration::from_secs(30);

/// Why it is not known who has which host.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The API server does not say.
    #[error("ConfigMap {MAP}: {0}")]
    Api(#[from] Box<kube::Error>),
    /// Somebody wrote something else.
    #[error(
        "ConfigMap {MAP}: {key}: {value:?} is no entry: a host, with _ for an asterisk, and the namespace that has it; repair \
         it, or remove it, and the namespace with the oldest Ingress for the host has it"
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
pub struct Hosts(Api<ConfigMap>);

impl Hosts {
    /// The one in our own namespace.
    #[must_use]
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self(Api::namespaced(client.clone(), namespace))
    }

    /// What is written.
    pub async fn load(&self) -> Result<Owners, HostsError> {
        let map = self.0.get_opt(MAP).await.map_err(Box::new)?;
        read(map.as_ref())
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
                    Ok(owners) => {
                        if events.send(Event::Hosts(owners)).await.is_err() {
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

    /// Write what the engine knows until the drain, while this replica leads.
    pub async fn run(
        self,
        mut owners: watch::Receiver<Owners>,
        leadership: Leadership,
        drain: Drain,
    ) {
        loop {
            let wanted = owners.borrow_and_update().clone();
            if leadership.leads() {
                match tokio::time::timeout(DEADLINE, self.write(&wanted)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "who has which host was not written, and is tried again");
                    }
                    Err(_elapsed) => {
                        tracing::warn!(
                            "who has which host was not written in time, and is tried again"
                        );
                    }
                }
            }
            tokio::select! {
                () = drain.signaled() => return,
                changed = owners.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Write what differs.
    async fn write(&self, wanted: &Owners) -> Result<(), HostsError> {
        let map = self.0.get_opt(MAP).await.map_err(Box::new)?;
        let data = changes(map.as_ref(), wanted);
        if data.is_empty() {
            return Ok(());
        }
        if map.is_none() {
            // Applied, so that creating has a name, which RBAC asks for.
            let labels = json!({"app.kubernetes.io/name": "culvert-controller", "app.kubernetes.io/part-of": "culvert"});
            let empty = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP, "labels": labels},
            });
            let made = PatchParams::apply(MANAGER).force();
            let made = self.0.patch(MAP, &made, &Patch::Apply(&empty)).await;
            made.map_err(Box::new)?;
        }
        let patch = Patch::Merge(json!({ "data": data }));
        let params = PatchParams::default();
        let written = self.0.patch(MAP, &params, &patch).await;
        written.map_err(Box::new)?;
        Ok(())
    }
}

/// What to write, so that it says this. What is malformed goes, since nobody goes by it.
fn changes(map: Option<&ConfigMap>, wanted: &Owners) -> Map<String, Value> {
    let empty = std::collections::BTreeMap::new();
    let written = map.and_then(|map| map.data.as_ref()).unwrap_or(&empty);
    let wanted: std::collections::BTreeMap<_, _> = wanted
        .iter()
        .map(|(host, namespace)| (key(host), &**namespace))
        .collect();
    let gone = written.keys().filter(|key| !wanted.contains_key(*key));
    let mut data: Map<_, _> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, namespace) in wanted {
        if written.get(&key).map(String::as_str) != Some(namespace) {
            data.insert(key, namespace.into());
        }
    }
    data
}

fn key(host: &str) -> String {
    match host.strip_prefix('*') {
        Some(rest) => format!("{WILDCARD}{rest}"),
        None if host.is_empty() => WILDCARD.into(),
        None => host.to_owned(),
    }
}

fn host(key: &str) -> Option<String> {
    if key == WILDCARD {
        return Some(String::new());
    }
    let name = key.strip_prefix("_.");
    dns_subdomain(name.unwrap_or(key)).ok()?;
    Some(name.map_or_else(|| key.to_owned(), |name| format!("*.{name}")))
}

fn read(map: Option<&ConfigMap>) -> Result<Owners, HostsError> {
    let data = map.and_then(|map| map.data.as_ref());
    let entry = |(key, value): (&String, &String)| {
        let namespace = dns_label(value).ok().map(|()| value.as_str().into());
        let entry = host(key).zip(namespace);
        entry.ok_or_else(|| HostsError::Malformed {
            key: key.clone(),
            value: value.chars().take(64).collect(),
        })
    };
    data.into_iter().flatten().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        let entries = entries.iter();
        let data = entries.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ConfigMap {
            data: Some(data.collect()),
            ..ConfigMap::default()
        }
    }

    fn owners(entries: &[(&str, &str)]) -> Owners {
        let entries = entries.iter();
        entries
            .map(|(host, namespace)| ((*host).to_owned(), (*namespace).into()))
            .collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let known = owners(&[("", "a"), ("*.x.org", "b"), ("x.org", "c")]);
        let data = changes(None, &known);
        let text =
            |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap().to_owned());
        let written = ConfigMap {
            data: Some(data.iter().map(text).collect()),
            ..ConfigMap::default()
        };
        assert_eq!(read(Some(&written)).unwrap(), known);
        assert!(changes(Some(&written), &known).is_empty());
        assert_eq!(read(None).unwrap(), Owners::new());
    }

    #[test]
    fn only_what_differs_is_written() {
        let before = map(&[("a.org", "a"), ("b.org", "b"), ("c.org", "c")]);
        let data = changes(
            Some(&before),
            &owners(&[("a.org", "a"), ("b.org", "x"), ("d.org", "d")]),
        );
        let expected = json!({"b.org": "x", "c.org": null, "d.org": "d"});
        assert_eq!(Value::Object(data), expected);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        for (key, value) in [
            ("a.org", "A"),
            ("a.org", ""),
            ("_x", "a"),
            ("A.org", "a"),
            ("__", "a"),
        ] {
            let error = read(Some(&map(&[("b.org", "b"), (key, value)]))).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
