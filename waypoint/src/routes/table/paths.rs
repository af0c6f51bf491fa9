//! The rules of one host, found by their paths without a look at each of them.
//!
//! Invariant: candidates come in the order of precedence: the exact path, prefixes from the longest to the shortest, then
//! everything that no path narrows down, each of these in its own order.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::matcher::{Head, Match, PathMatch};
use crate::routes::plan::RulePlan;

use super::Found;

/// All rules of one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<str>, Vec<Entry>>,
    prefixes: HashMap<Box<str>, Vec<Entry>>,
    /// Of the prefixes, longest first. A request is looked up once for each, however many elements its path has.
    lengths: Vec<usize>,
    /// Regular expressions, and what is for every path.
    others: Vec<Entry>,
}

/// One match of a rule.
#[derive(Debug)]
pub(super) struct Entry {
    plan: Arc<RulePlan>,
    condition: usize,
}

impl Entry {
    /// Of the rule's matches the one of this number.
    pub(super) fn new(plan: Arc<RulePlan>, condition: usize) -> Self {
        Self { plan, condition }
    }

    fn condition(&self) -> Option<&Match> {
        self.plan.rule.matches.get(self.condition)
    }

    /// The smallest wins.
    fn rank(&self) -> impl Ord + '_ {
        let route = &*self.plan.route;
        let specificity = self.condition().map(Match::specificity);
        (
            Reverse(specificity),
            &*route.created,
            &*route.name,
            self.plan.index,
        )
    }

    fn found(&self, head: &Head<'_>) -> Option<Found<'_>> {
        let condition = self.condition().filter(|it| it.matches(head))?;
        Some(Found {
            rule: &self.plan,
            prefix: condition.prefix().unwrap_or(""),
        })
    }
}

impl Paths {
    /// One more; [`Self::sort`] has to follow.
    pub(super) fn add(&mut self, entry: Entry) {
        let path = entry.condition().and_then(|it| it.path.as_ref());
        let list = match path {
            Some(PathMatch::Exact(path)) => self.exact.entry(path.clone()).or_default(),
            Some(PathMatch::Prefix(prefix)) if !prefix.is_empty() => {
                self.prefixes.entry(prefix.clone()).or_default()
            }
            _ => &mut self.others,
        };
        list.push(entry);
    }

    /// Puts everything in order.
    pub(super) fn sort(&mut self) {
        let by_path = self.exact.values_mut().chain(self.prefixes.values_mut());
        for list in by_path.chain([&mut self.others]) {
            list.sort_by(|one, other| one.rank().cmp(&other.rank()));
            list.shrink_to_fit();
        }
        self.lengths = self.prefixes.keys().map(|prefix| prefix.len()).collect();
        self.lengths.sort_unstable_by_key(|length| Reverse(*length));
        self.lengths.dedup();
    }

    /// The best that matches.
    pub(super) fn find(&self, head: &Head<'_>) -> Option<Found<'_>> {
        let exact = self.exact.get(head.path);
        let prefixes = self.lengths.iter().filter_map(|length| {
            let (prefix, rest) = head.path.split_at_checked(*length)?;
            let ends = rest.is_empty() || rest.starts_with('/');
            ends.then(|| self.prefixes.get(prefix)).flatten()
        });
        exact
            .into_iter()
            .chain(prefixes)
            .chain([&self.others])
            .flatten()
            .find_map(|entry| entry.found(head))
    }
}
