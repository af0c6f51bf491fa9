//! Whether a client's connection is in use.
//!
//! Invariant: a request is open until the last byte of its response is on its way, or its change of protocol has ended.

use std::cell::Cell;
use std::rc::Rc;

use culvert_runtime::limits::Limits;

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    open: Cell<u32>,
    served: Cell<u64>,
}

/// One open request, until it is dropped.
#[derive(Debug)]
pub struct Busy(Rc<Activity>);

impl Activity {
    /// Opens a request.
    pub(super) fn enter(self: &Rc<Self>) -> Busy {
        self.open.set(self.open.get().saturating_add(1));
        self.served.set(self.served.get().wrapping_add(1));
        Busy(Rc::clone(self))
    }

    /// Returns once the connection has rested for too long: from its start without a request, or later without one being
    /// open, then up to twice as long. Never without limits.
    pub(super) async fn rested(&self, limits: Option<&Limits>) {
        let Some(limits) = limits else {
            return std::future::pending().await;
        };
        let mut pause = limits.client_silence;
        let mut seen = Some(0);
        loop {
            tokio::time::sleep(pause).await;
            let now = (self.open.get() == 0).then_some(self.served.get());
            if now.is_some() && now == seen {
                return;
            }
            (pause, seen) = (limits.client_idle, now);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let open = &self.0.open;
        open.set(open.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_rest_counts() {
        let limits = Limits {
            client_silence: Duration::from_millis(10),
            client_idle: Duration::from_millis(10),
            ..Limits::default()
        };
        let activity = Rc::new(Activity::default());
        activity.rested(Some(&limits)).await;
        let busy = activity.enter();
        let while_open = activity.rested(Some(&limits));
        let waited = tokio::time::timeout(Duration::from_millis(200), while_open).await;
        assert!(waited.is_err(), "a request is open");
        drop(busy);
        activity.rested(Some(&limits)).await;
        let unbounded = activity.rested(None);
        let waited = tokio::time::timeout(Duration::from_millis(200), unbounded).await;
        assert!(waited.is_err(), "nobody bounds it");
    }
}
