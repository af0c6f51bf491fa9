//! Sorted sets whose entries are grouped by a key, so that one persistent set answers "all entries of this key" in the
//! order that the entries define.

use std::cmp::Ordering;
use std::net::IpAddr;

use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

/// An entry whose order begins with its group.
pub(super) trait Grouped<K: ?Sized>: Ord {
    fn group(&self) -> &K;

    /// A number of the group that the entry holds itself, so that most comparisons look at nothing else: groups are in
    /// the order of these numbers, and of their keys only where the numbers are equal.
    fn prefix(&self) -> u32 {
        0
    }

    /// The number of the group with this key.
    fn prefix_of(_: &K) -> u32 {
        0
    }
}

/// Lies immediately before the first entry of a group.
struct StartOf<'a, K: ?Sized>(u32, &'a K);

impl<K: ?Sized, E: Grouped<K>> Equivalent<E> for StartOf<'_, K> {
    fn equivalent(&self, _: &E) -> bool {
        false
    }
}

impl<K: Ord + ?Sized, E: Grouped<K>> Comparable<E> for StartOf<'_, K> {
    fn compare(&self, entry: &E) -> Ordering {
        let Self(prefix, key) = self;
        let by_key = || key.cmp(&entry.group());
        prefix
            .cmp(&entry.prefix())
            .then_with(by_key)
            .then(Ordering::Less)
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
    let prefix = E::prefix_of(key);
    set.range(StartOf(prefix, key)..)
        .take_while(move |entry| entry.prefix() == prefix && entry.group() == key)
}

/// Different for most texts; the same in every process.
pub(super) fn prefix_of_text(text: &str) -> u32 {
    // FNV-1a.
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Different for most addresses of a mesh.
pub(super) fn prefix_of_ip(ip: &IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => {
            let [a, b, c, d] = [96, 64, 32, 0].map(|shift| ip.to_bits() >> shift);
            // Truncated on purpose: a word each.
            #[expect(clippy::cast_possible_truncation, reason = "the low word is meant")]
            let word = (a ^ b ^ c ^ d) as u32;
            word
        }
    }
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

    /// Entries whose groups mostly have the same number.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Crowded(&'static str, u8);

    impl Grouped<str> for Crowded {
        fn group(&self) -> &str {
            self.0
        }

        fn prefix(&self) -> u32 {
            Self::prefix_of(self.0)
        }

        fn prefix_of(key: &str) -> u32 {
            // The longer ones come first.
            u32::from(key.len() < 2)
        }
    }

    impl Ord for Crowded {
        fn cmp(&self, other: &Self) -> Ordering {
            (self.prefix(), self.0, self.1).cmp(&(other.prefix(), other.0, other.1))
        }
    }

    impl PartialOrd for Crowded {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn groups_with_the_same_number_are_kept_apart() {
        let set: OrdSet<_> = [
            ("b", 2),
            ("a", 9),
            ("b", 1),
            ("ba", 0),
            ("bb", 7),
            ("ba", 3),
        ]
        .into_iter()
        .map(|(key, n)| Crowded(key, n))
        .collect();
        let of = |key| -> Vec<u8> {
            let entries = group::<str, Crowded>(&set, key);
            entries.map(|entry| entry.1).collect()
        };
        assert_eq!(of("b"), [1, 2]);
        assert_eq!(of("a"), [9]);
        assert_eq!(of("ba"), [0, 3]);
        assert_eq!(of("bb"), [7]);
        assert!(of("c").is_empty() && of("bc").is_empty());
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
