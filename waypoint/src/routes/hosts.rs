//! Anything by host name, from the most specific name to none.
//!
//! Invariant: an exact name comes before wildcards, a longer wildcard before a shorter one, and what is for every host
//! last.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::config::route::Hostname;

/// One `T` for each host name.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    /// Longest first, once sorted.
    wildcards: Vec<(Box<str>, T)>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
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
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcards.map(|(_, one)| one))
            .chain(&self.any)
    }
}

/// Whether `host` is one label or more before `suffix`, which starts with a dot.
fn ends_with_labels(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix)
        .is_some_and(|label| !label.is_empty())
}
