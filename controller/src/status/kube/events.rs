//! Events, where a condition turns bad.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::conditions;
use crate::model::Key;
use crate::source::kube::Told;

/// What is merely not there yet.
const WAITING: [&str; 2] = ["Pending", "AddressNotAssigned"];
/// As the API has it.
const NOTE: usize = 1000;

/// What was False when we last looked, by the object's uid.
type Seen = HashMap<String, Vec<(String, String, String)>>;

/// Publishes them.
pub(super) struct Events {
    recorder: Recorder,
    seen: Seen,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "culvert.dev/controller".into(),
            instance: Some(instance.into()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            seen: Seen::new(),
        }
    }

    /// What was said before our time is not said again.
    pub(super) fn begin(&mut self, all: &[(Key, Told)]) {
        self.seen = all.iter().map(entry).collect();
    }

    /// Tell what is bad and was not before.
    pub(super) async fn observe(&mut self, all: &[(Key, Told)]) {
        let now: Seen = all.iter().map(entry).collect();
        for (key, told) in all {
            let before = self.seen.get(&told.uid);
            for (kind, reason, message) in news(before, &now[&told.uid]) {
                let note = format!("{kind}: {message}");
                warn(&self.recorder, key, &told.uid, reason, &note).await;
            }
        }
        self.seen = now;
    }
}

type Bad = (String, String, String);

/// What is bad now and was not, or was for another reason.
fn news<'a>(before: Option<&'a Vec<Bad>>, now: &'a [Bad]) -> impl Iterator<Item = &'a Bad> {
    now.iter().filter(move |(kind, reason, _)| {
        let known = |bad: &Bad| bad.0 == *kind && bad.1 == *reason;
        !WAITING.contains(&reason.as_str())
            && !before.is_some_and(|before| before.iter().any(known))
    })
}

fn entry((_, told): &(Key, Told)) -> (String, Vec<Bad>) {
    (told.uid.clone(), conditions::bad(&told.status))
}

/// A warning about an object. That it could not be told is logged, and no more.
pub(super) async fn warn(recorder: &Recorder, key: &Key, uid: &str, reason: &str, note: &str) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason.into(),
        note: Some(note.chars().take(NOTE).collect()),
        action: "Reconcile".into(),
        secondary: None,
    };
    let namespace = &key.name.namespace;
    let reference = ObjectReference {
        api_version: Some(key.kind.api_versions()[0].into()),
        kind: Some(key.kind.as_str().into()),
        name: Some(key.name.name.to_string()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_string()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    };
    if let Err(error) = recorder.publish(&event, &reference).await {
        tracing::debug!(object = %key, %error, "event not published");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(kind: &str, reason: &str, message: &str) -> Bad {
        (kind.into(), reason.into(), message.into())
    }

    #[test]
    fn only_what_turned_bad_is_told() {
        let refused = bad("Accepted", "Invalid", "a");
        let now = [refused.clone(), bad("Programmed", "Pending", "b")];
        assert_eq!(news(None, &now).collect::<Vec<_>>(), [&refused]);
        let before = vec![bad("Accepted", "Invalid", "other words")];
        assert_eq!(news(Some(&before), &now).count(), 0);
        let before = vec![bad("Accepted", "NotFound", "a")];
        assert_eq!(news(Some(&before), &now).count(), 1);
    }
}
