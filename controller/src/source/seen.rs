//! How far a source was read: for each kind, the `resourceVersion` that everything up to is known of.
//!
//! Versions are compared within a kind only, which is what Kubernetes promises of them.

use std::collections::BTreeMap;

use crate::model::Kind;

/// How far each kind was read, or ought to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<Kind, u64>);

impl Seen {
    /// How far a kind was read; nothing of it is 0.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// This kind was read so far. Says whether that is news.
    pub fn set(&mut self, kind: Kind, version: u64) -> bool {
        self.0.insert(kind, version) != Some(version)
    }

    /// The kinds in which it does not reach so far.
    pub fn behind(&self, goal: &Self) -> impl Iterator<Item = Kind> {
        let behind = |(kind, version): (&Kind, &u64)| (self.of(*kind) < *version).then_some(*kind);
        goal.0.iter().filter_map(behind)
    }
}

impl FromIterator<(Kind, u64)> for Seen {
    fn from_iter<T: IntoIterator<Item = (Kind, u64)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}
