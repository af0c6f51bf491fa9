//! Which rule serves a request: the Gateway API's precedence, sorted once.
//!
//! Invariant: the first rule that matches in the table's order is the one that the Gateway API names: the most
//! specific host name, then exact path, longest prefix, method, number of headers, number of query parameters, then
//! the oldest route, then alphabetical order, then the order inside the route.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::matcher::{Head, Match, Specificity};
use crate::config::route::{Hostname, Route};

use super::plan::RulePlan;

/// The rules of one port of a service, by host.
#[derive(Debug, Default)]
pub struct HostTable {
    exact: HashMap<Box<str>, Vec<Entry>>,
    /// Longest first.
    wildcards: Vec<(Box<str>, Vec<Entry>)>,
    any: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    condition: Match,
    rule: Arc<RulePlan>,
    rank: Rank,
}

/// Sorts ascending: the smallest rank wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    specificity: Reverse<Specificity>,
    created: Arc<str>,
    route: Arc<str>,
    rule: usize,
}

/// A rule that matched.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a Arc<RulePlan>,
    /// The path prefix that its match named, without trailing slash.
    pub prefix: &'a str,
}

impl HostTable {
    /// Adds the rules of `route`; `plans` are theirs, in the same order.
    pub(super) fn add(&mut self, route: &Route, plans: &[Arc<RulePlan>]) {
        let created: Arc<str> = route.created.as_str().into();
        for (index, (rule, plan)) in route.rules.iter().zip(plans).enumerate() {
            for condition in &rule.matches {
                let specificity = Reverse(condition.specificity());
                let rank = Rank {
                    specificity,
                    created: Arc::clone(&created),
                    route: Arc::clone(&route.name),
                    rule: index,
                };
                let entry = || Entry {
                    condition: condition.clone(),
                    rule: Arc::clone(plan),
                    rank: rank.clone(),
                };
                if route.hostnames.is_empty() {
                    self.any.push(entry());
                }
                for hostname in &route.hostnames {
                    match hostname {
                        Hostname::Exact(name) => {
                            self.exact.entry(name.clone()).or_default().push(entry())
                        }
                        Hostname::Wildcard(suffix) => self.wildcard(suffix).push(entry()),
                    }
                }
            }
        }
    }

    fn wildcard(&mut self, suffix: &str) -> &mut Vec<Entry> {
        let index = match self
            .wildcards
            .iter()
            .position(|(known, _)| **known == *suffix)
        {
            Some(index) => index,
            None => {
                self.wildcards.push((suffix.into(), Vec::new()));
                self.wildcards.len() - 1
            }
        };
        &mut self.wildcards[index].1
    }

    /// Puts everything in order; to be called once all routes were added.
    pub(super) fn sort(&mut self) {
        self.wildcards
            .sort_by_key(|(suffix, _)| Reverse(suffix.len()));
        let lists = self
            .exact
            .values_mut()
            .chain(self.wildcards.iter_mut().map(|(_, list)| list));
        for list in lists.chain([&mut self.any]) {
            list.sort_by(|a, b| a.rank.cmp(&b.rank));
        }
    }

    /// The rule for a request to `host` (canonical, without port).
    pub fn find<'a>(&'a self, host: &str, head: &Head<'_>) -> Option<Found<'a>> {
        let wildcards = self
            .wildcards
            .iter()
            .filter(|(suffix, _)| ends_with_labels(host, suffix));
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcards.map(|(_, list)| list))
            .chain([&self.any])
            .flatten()
            .find(|entry| entry.condition.matches(head))
            .map(|entry| Found {
                rule: &entry.rule,
                prefix: entry.condition.prefix().unwrap_or(""),
            })
    }
}

/// Whether `host` is one label or more before `suffix`, which starts with a dot.
fn ends_with_labels(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix)
        .is_some_and(|label| !label.is_empty())
}

#[cfg(test)]
mod tests;
