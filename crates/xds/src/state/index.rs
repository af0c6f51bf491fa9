//! Sorted sets whose entries are grouped by a key, so that one persistent set answers "all entries of this key" in the
//! order that the entries define.

use std::cmp::Ordering;

use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

/// An entry whose order begins with its group.
pub(super) trait Grouped<K: ?Sized>: Ord {
    fn group(&self) -> &K;
}

/// Lies immediately before the first entry of a group.
struct StartOf<'a, K: ?Sized>(&'a K);

impl<K: ?Sized, E: Grouped<K>> Equivalent<E> for StartOf<'_, K> {
    fn equivalent(&self, _: &E) -> bool {
        false
    }
}

impl<K: Ord + ?Sized, E: Grouped<K>> Comparable<E> for StartOf<'_, K> {
    fn compare(&self, entry: &E) -> Ordering {
        self.0.cmp(entry.group()).then(Ordering::Less)
    }
}

/// The entries of one group, in their order.
pub(super) fn group<'set, 'key, K, E>(
    set: &'set OrdSet<E>,
    key: &'key K,
) -> impl Iterator<Item = &'set E> + use<'set, 'key, K, E>
where
    K: Ord + ?Sized,
    E: Grouped<K> + Clone,
{
    set.range(StartOf(key)..)
        .take_while(move |entry| entry.group() == key)
}

/// Equality and partial order of types that define [`Ord`].
macro_rules! ordered {
    ($($type:ty),*) => {$(
        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other).is_eq()
            }
        }

        impl Eq for $type {}
    )*};
}
pub(super) use ordered;

#[cfg(test)]
mod tests {
    use super::*;

    impl Grouped<str> for (&'static str, u8) {
        fn group(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn a_group_is_complete_and_alone() {
        let set: OrdSet<_> = [("b", 2), ("a", 9), ("b", 1), ("ba", 0), ("b", 200)]
            .into_iter()
            .collect();
        let of = |key| -> Vec<u8> {
            let entries = group::<str, (&str, u8)>(&set, key);
            entries.map(|entry| entry.1).collect()
        };
        assert_eq!(of("b"), [1, 2, 200]);
        assert_eq!(of("a"), [9]);
        assert!(of("c").is_empty());
        assert!(of("").is_empty());
    }
}
