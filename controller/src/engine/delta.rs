//! What differs between two moments, found once and shared by all clients that go from the one to the other.
//!
//! Invariant: for one snapshot there is one [`Delta`] for each type and each moment that clients come from.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use imbl::ordmap::DiffItem;

use super::snapshot::{Resources, Served};
use crate::translate::Type;

/// What differs between two moments.
#[derive(Default)]
pub struct Delta {
    /// New or different.
    pub resources: Vec<Arc<Served>>,
    /// Gone.
    pub removed: Vec<String>,
    /// As it goes out, from the first who sends it on.
    pub encoded: OnceLock<Bytes>,
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delta")
            .field("resources", &self.resources)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

impl Delta {
    /// Of these.
    #[must_use]
    pub fn new(resources: Vec<Arc<Served>>, removed: Vec<String>) -> Self {
        Self {
            resources,
            removed,
            encoded: OnceLock::new(),
        }
    }

    /// Time goes with what differs, not with what there is, if the one was made from the other.
    #[must_use]
    pub fn between(before: &Resources, now: &Resources) -> Self {
        let mut delta = Self::default();
        for item in before.diff(now) {
            match item {
                DiffItem::Add(_, served) => delta.resources.push(served.clone()),
                DiffItem::Update {
                    new: (_, served), ..
                } => delta.resources.push(served.clone()),
                DiffItem::Remove(name, _) => delta.removed.push(name.to_string()),
            }
        }
        delta
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

/// A type, and the stamp that the client comes from.
type From = (Type, u64);

/// The deltas that lead to one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Deltas(Arc<Mutex<HashMap<From, Arc<Delta>>>>);

impl Deltas {
    /// The delta from the moment `stamp`, at which there was `before`.
    pub(super) fn get(
        &self,
        kind: Type,
        stamp: u64,
        before: &Resources,
        now: &Resources,
    ) -> Arc<Delta> {
        // Others who want the same one wait for it instead of making it too.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry((kind, stamp))
            .or_insert_with(|| Arc::new(Delta::between(before, now)))
            .clone()
    }
}
