//! Values that many workloads have in common, kept once. A hundred thousand pods share some hundred namespaces, service
//! accounts and nodes, and the pods of one Deployment share nearly everything.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::{HashSet, HashSetExt as _};

use super::workload::{NamedPolicies, Place, Template};

/// Sets smaller than this are not worth a sweep.
const SMALL: usize = 1024;

/// One kind of value.
#[derive(Debug)]
pub(super) struct Interner<T: ?Sized> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            sweep_at: SMALL,
        }
    }
}

impl<T: Eq + Hash + ?Sized> Interner<T> {
    /// The one shared value that is equal to this.
    pub(super) fn intern(&mut self, value: impl Into<Arc<T>> + Borrow<T>) -> Arc<T> {
        if let Some(known) = self.known.get(value.borrow()) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.known.shrink_to_fit();
            self.sweep_at = SMALL.max(self.known.len() + self.known.len() / 4);
        }
        let value: Arc<T> = value.into();
        self.known.insert(value.clone());
        value
    }
}

/// Every kind of value that is shared.
#[derive(Debug, Default)]
pub(super) struct Interners {
    pub(super) text: Interner<str>,
    pub(super) names: Interner<[Arc<str>]>,
    pub(super) named: Interner<NamedPolicies>,
    pub(super) places: Interner<Place>,
    pub(super) templates: Interner<Template>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_forgotten_ones_go() {
        let mut interner = Interner::<str>::default();
        let first = interner.intern("a");
        assert!(Arc::ptr_eq(&first, &interner.intern("a")));
        for n in 0..10 * SMALL {
            interner.intern(n.to_string().as_str());
        }
        assert!(interner.known.len() <= SMALL + 1);
        assert!(Arc::ptr_eq(&first, &interner.intern("a")));
    }
}
