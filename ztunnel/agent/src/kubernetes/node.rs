//! The cache, shared: who changes it tells everybody who waits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::cache::Cache;
use crate::source::PodEvent;

/// What this node knows of its pods. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cache: Mutex<Cache>,
    changed: watch::Sender<()>,
    events: mpsc::UnboundedSender<PodEvent>,
}

impl Node {
    /// Nothing is known yet. What follows goes to `events`.
    #[must_use]
    pub fn new(events: mpsc::UnboundedSender<PodEvent>) -> Self {
        Self(Arc::new(Shared {
            cache: Mutex::default(),
            changed: watch::Sender::new(()),
            events,
        }))
    }

    /// Look at what is known.
    pub fn look<T>(&self, look: impl FnOnce(&Cache) -> T) -> T {
        look(&self.0.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Change what is known and tell what follows.
    pub fn change(&self, change: impl FnOnce(&mut Cache) -> Vec<PodEvent>) {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = change(&mut cache);
        events.extend(cache.news());
        for event in events {
            // The receiver only goes when the agent ends.
            let _ended = self.0.events.send(event);
        }
        drop(cache);
        self.0.changed.send_replace(());
    }

    /// Told of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}
