//! Under STRICT, ends connections that bring plaintext around the mesh.
//!
//! Invariant: it is done whenever there may be some: after the pod joined, where STRICT or its ports changed, while
//! connections from before are open, and for a while after its rules were found changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::capture::plaintext::Doomed;
use crate::capture::{Site, addresses};
use crate::metrics;
use crate::pod::{Pod, Strict};

/// A connection that began to open while rules were missing may be open only so long after.
const WHILE: Duration = Duration::from_secs(90);

/// What was done about plaintext.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Where the pod was strict when it was looked for.
    strict: Option<Strict>,
    /// It is looked for until then.
    until: Option<Instant>,
    /// So many in all.
    pub(super) count: usize,
    /// Why there may be some now.
    failed: bool,
}

impl Ended {
    /// There may be plaintext again.
    pub(super) fn again(&mut self) {
        self.until = Some(Instant::now() + WHILE);
    }

    fn is_due(&self, strict: &Strict, before: bool) -> bool {
        let lately = self.until.is_some_and(|until| Instant::now() < until);
        before || lately || self.failed || self.strict.as_ref() != Some(strict)
    }
}

impl Worker {
    /// End what there is, if the pod is strict. What to tell people if that fails, which is no reason to take the pod
    /// for not captured. `new` are the rules that are there since this moment.
    pub(super) async fn end_plaintext(
        &mut self,
        pod: &Pod,
        site: &Arc<Site>,
        new: bool,
    ) -> Option<String> {
        let record = self.record.as_ref();
        let known = record.and_then(|record| record.pod.strict.as_ref());
        let strict = pod.strict.as_ref().or(known).cloned().unwrap_or_default();
        let before = record
            .map(|record| record.before.clone())
            .unwrap_or_default();
        if self.ended.strict.as_ref() != Some(&strict) {
            self.ended.again();
        }
        let due = self.ended.is_due(&strict, !before.is_empty());
        self.ended.strict = Some(strict.clone());
        if !strict.is_somewhere() || !due {
            return None;
        }
        let mut doomed = Doomed {
            strict,
            options: pod.options.clone(),
            before,
            probing: Vec::new(),
        };
        let site = Arc::clone(site);
        let ended = self.blocking(move |_| {
            if new {
                // A probe that began as one of the node's is left until the next audit.
                doomed.probing = addresses().unwrap_or_default();
            }
            site.end_plaintext(&doomed)
        });
        let ended = ended.await;
        self.ended.failed = ended.is_err();
        match ended {
            Ok(0) => None,
            Ok(count) => {
                self.ended.count += count;
                metrics::plaintext_closed(count);
                tracing::warn!(
                    pod = self.uid,
                    count,
                    "plaintext connections that went around the mesh to a strict pod were ended"
                );
                None
            }
            Err(error) => {
                metrics::failure("strict");
                Some(format!("plaintext from before may go on: {error}"))
            }
        }
    }
}
