//! Anything by host name, from the most specific name to none.
//!
//! Invariant: an exact name comes before wildcards, a longer wildcard before a shorter one, of the same length the one for
//! one label alone first, and what is for every host last.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::config::route::Hostname;

/// One `T` for each host name.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the one label, with its dot.
    labels: HashMap<Box<str>, T>,
    /// Longest first, once sorted.
    wildcards: Vec<(Box<str>, T)>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            labels: HashMap::new(),
            wildcards: Vec::new(),
            any: None,
        }
    }
}

impl<T: Default> Hosts<T> {
    /// What is for this name; none stands for every host.
    pub(super) fn entry(&mut self, name: Option<&Hostname>) -> &mut T {
        match name {
            None => self.any.get_or_insert_default(),
            Some(Hostname::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(Hostname::Wildcard(suffix)) => self.wildcard(suffix),
            Some(Hostname::Label(suffix)) => self.labels.entry(suffix.clone()).or_default(),
        }
    }

    /// What is for each of `names`; without any, for every host.
    pub(super) fn each(&mut self, names: &[Hostname], mut change: impl FnMut(&mut T)) {
        if names.is_empty() {
            change(self.entry(None));
        }
        for name in names {
            change(self.entry(Some(name)));
        }
    }

    fn wildcard(&mut self, suffix: &str) -> &mut T {
        let known = |(known, _): &(Box<str>, T)| **known == *suffix;
        let index = match self.wildcards.iter().position(known) {
            Some(index) => index,
            None => {
                self.wildcards.push((suffix.into(), T::default()));
                self.wildcards.len() - 1
            }
        };
        &mut self.wildcards[index].1
    }
}

impl<T> Hosts<T> {
    /// Puts everything in order, and finishes each; to be called once all is in it.
    pub(super) fn finish(&mut self, each: impl FnMut(&mut T)) {
        self.wildcards
            .sort_by_key(|(suffix, _)| Reverse(suffix.len()));
        self.exact
            .values_mut()
            .chain(self.labels.values_mut())
            .chain(self.wildcards.iter_mut().map(|(_, one)| one))
            .chain(&mut self.any)
            .for_each(each);
    }

    /// What is for `host` (canonical, without port; empty if there is none), the most specific first.
    pub(super) fn candidates<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a T> {
        let wildcards = self
            .wildcards
            .iter()
            .filter(move |(suffix, _)| ends_with_labels(host, suffix));
        let label = self.labels.get(after_one_label(host));
        self.exact
            .get(host)
            .into_iter()
            // No wildcard that has the host is longer than this one.
            .chain(label)
            .chain(wildcards.map(|(_, one)| one))
            .chain(&self.any)
    }
}

/// Whether `host` is one label or more before `suffix`, which starts with a dot.
fn ends_with_labels(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix)
        .is_some_and(|label| !label.is_empty())
}

/// What follows the first label of a host, with its dot. Nothing, for which there is never anything, if that is all.
fn after_one_label(host: &str) -> &str {
    match host.find('.') {
        Some(dot) if dot > 0 => host.split_at(dot).1,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_is_neither_none_nor_two() {
        let mut hosts: Hosts<Option<&str>> = Hosts::default();
        for (name, one_label) in [
            ("*.foo.com", true),
            ("*.com", false),
            ("*.foo.com", false),
            ("bar.foo.com", false),
        ] {
            let decoded = Hostname::decode(name).unwrap();
            let (decoded, said) = if one_label {
                (decoded.of_one_label(), "one label")
            } else {
                (decoded, name)
            };
            *hosts.entry(Some(&decoded)) = Some(said);
        }
        hosts.finish(|_| ());
        let found = |host: &str| {
            hosts
                .candidates(host)
                .flatten()
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found("bar.foo.com"),
            ["bar.foo.com", "one label", "*.foo.com", "*.com"]
        );
        assert_eq!(found("baz.foo.com"), ["one label", "*.foo.com", "*.com"]);
        assert_eq!(found("baz.bar.foo.com"), ["*.foo.com", "*.com"]);
        assert_eq!(found("foo.com"), ["*.com"]);
        for none in ["", ".foo.com", "foo"] {
            assert!(!found(none).contains(&"one label"), "{none}");
        }
    }
}
