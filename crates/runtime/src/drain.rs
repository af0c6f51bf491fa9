//! One switch that tells every part of a process, or of a pod's proxy, to take no new work.
//!
//! Invariant: a drain that started never stops, and dropping the [`Trigger`] starts it, so that work
//! never outlives its owner unnoticed.

use tokio::sync::watch;

/// Starts the drain; owned by whoever owns the work.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Told of the drain; held by each piece of work.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A connected [`Trigger`] and [`Drain`].
#[must_use]
pub fn channel() -> (Trigger, Drain) {
    let (tx, rx) = watch::channel(false);
    (Trigger(tx), Drain(rx))
}

impl Trigger {
    /// Start the drain. Later calls do nothing.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Another handle that is told of this drain.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain(self.0.subscribe())
    }

    /// Wait until every [`Drain`] of this trigger was dropped, that is, until the work has ended.
    pub async fn finished(&self) {
        self.0.closed().await;
    }
}

impl Drain {
    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Wait until the drain starts; returns at once if it has.
    pub async fn signaled(&self) {
        // An error means that the trigger is gone, which counts as a start.
        let mut receiver = self.0.clone();
        drop(receiver.wait_for(|draining| *draining).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn start_reaches_every_clone() {
        let (trigger, drain) = channel();
        let clone = drain.clone();
        assert!(!drain.is_draining());
        assert!(clone.signaled().now_or_never().is_none());
        trigger.start();
        assert!(clone.is_draining());
        drain.signaled().await;
        trigger.drain().signaled().await;
    }

    #[tokio::test]
    async fn dropping_the_trigger_starts_the_drain() {
        let (trigger, drain) = channel();
        drop(trigger);
        assert!(drain.is_draining());
        drain.signaled().await;
    }

    #[tokio::test]
    async fn finished_waits_for_the_last_holder() {
        let (trigger, drain) = channel();
        let second = drain.clone();
        trigger.start();
        drop(drain);
        assert!(trigger.finished().now_or_never().is_none());
        drop(second);
        trigger.finished().await;
    }
}
