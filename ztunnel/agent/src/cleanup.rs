//! Takes every recorded pod's capture away, without an agent running: for uninstalling.

use crate::capture::plan::Step;
use crate::capture::tools::Tools;
use crate::capture::{CaptureError, Site};
use crate::store::{Record, Store};

/// Remove the rules of all records, each as far as it goes, and say what failed.
pub fn all(tools: &Tools, store: &Store) -> Vec<String> {
    let mut failures = Vec::new();
    for record in store.records() {
        let uid = &record.pod.uid;
        let cleaned = one(tools, &record).map_err(|error| error.to_string());
        let forgotten = cleaned.and_then(|()| store.remove(uid).map_err(|e| e.to_string()));
        match forgotten {
            Ok(()) => tracing::info!(pod = uid, "rules removed"),
            Err(error) => failures.push(format!("{uid}: {error}")),
        }
    }
    failures
}

fn one(tools: &Tools, record: &Record) -> Result<(), CaptureError> {
    let site = match Site::open(&record.pod.netns) {
        Err(CaptureError::Vanished(_)) => return Ok(()),
        site => site?,
    };
    if !record.is_in(site.id()) {
        // Another namespace took the place of the one with the rules.
        return Ok(());
    }
    site.remove(tools, Step::Redirection)?;
    site.remove(tools, Step::Rest)
}
