//! Takes every recorded pod's capture away, without an agent running: for uninstalling.

use crate::capture::CaptureError;
use crate::capture::Site;
use crate::capture::plan::Step;
use crate::capture::probes::{KUBELET, Probes};
use crate::capture::tools::Tools;
use crate::store::{Record, Store};

/// Remove the rules of all records, each as far as it goes, and say what failed.
pub fn all(tools: &Tools, store: &Store) -> Vec<String> {
    let mut failures = Vec::new();
    let probes = Probes::new(tools, KUBELET, std::iter::empty());
    if let Err(error) = probes.clear() {
        failures.push(format!("the node's rules for probes: {error}"));
    }
    for record in store.records() {
        let uid = &record.pod.uid;
        let forget = || store.remove(uid).map_err(|error| error.to_string());
        match one(tools, &record) {
            Ok(0) => match forget() {
                Ok(()) => tracing::info!(pod = uid, "rules removed"),
                Err(error) => failures.push(format!("{uid}: {error}")),
            },
            Ok(open) => failures.push(format!(
                "{uid}: {open} connections through ztunnel are still open; end it first"
            )),
            Err(error) => failures.push(format!("{uid}: {error}")),
        }
    }
    failures
}

/// Remove the rules of one, as far as they keep nothing of an open connection from leaving in the clear;
/// yields how many such connections there are.
fn one(tools: &Tools, record: &Record) -> Result<usize, CaptureError> {
    let site = match Site::open(&record.pod.netns) {
        Err(CaptureError::Vanished(_)) => return Ok(0),
        site => site?,
    };
    if !record.is_in(site.id()) {
        // Another namespace took the place of the one with the rules.
        return Ok(0);
    }
    site.remove(tools, Step::Redirection)?;
    let carried = site.carried(tools)?;
    if carried == 0 {
        site.remove(tools, Step::Rest)?;
    }
    Ok(carried)
}
