//! Between two audits: who changes a captured pod's rules or routes has them audited at once.
//!
//! Invariant: at once, but not without end: whoever changes them again and again makes the agent look ever more seldom,
//! down to the ordinary audits.

use std::time::Duration;

use culvert_runtime::netns::NetnsId;
use tokio::time::Instant;

use crate::capture::Site;
use crate::metrics;
use crate::netlink::changes::Changes;

/// Changes of one writer come together.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// So long without a change and the next one is a new matter.
const QUIET: Duration = Duration::from_secs(1);

/// A subscription to the changes in one pod's namespace.
#[derive(Debug)]
pub(super) struct Guard {
    id: NetnsId,
    changes: Changes,
    pause: Duration,
}

impl Guard {
    pub(super) fn new(id: NetnsId, changes: Changes) -> Self {
        Self {
            id,
            changes,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether it is about this namespace.
    pub(super) fn is_of(&self, site: &Site) -> bool {
        self.id == site.id()
    }

    /// Return when an audit is due because of a change. To be called when an audit has ended, however it did. `most` is
    /// the time between the ordinary ones.
    pub(super) async fn disturbed(&mut self, most: Duration) {
        let since = Instant::now();
        let told = self.changes.told().await;
        self.pause = match since.elapsed() >= QUIET {
            true => FIRST_PAUSE,
            false => (self.pause * 2).min(most),
        };
        tokio::time::sleep(self.pause).await;
        // What comes from here on leads to another audit.
        if let Err(error) = told.and_then(|()| self.changes.clear()) {
            metrics::failure("watch");
            tracing::warn!(%error, "changes of a pod's rules are not told; the audits go on");
            std::future::pending::<()>().await;
        }
    }
}
