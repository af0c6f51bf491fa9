//! Which rule serves a request: the Gateway API's precedence, sorted once.
//!
//! Invariant: the first rule that matches in the table's order is the one that the Gateway API names: the most
//! specific host name, then exact path, longest prefix, method, number of headers, number of query parameters, then
//! the oldest route, then alphabetical order, then the order inside the route.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::matcher::Head;
use crate::config::route::Hostname;

use super::plan::RulePlan;

mod paths;

use paths::{Entry, Paths};

/// The rules of one port of a service, by host.
#[derive(Debug, Default)]
pub struct HostTable {
    exact: HashMap<Box<str>, Paths>,
    /// Longest first.
    wildcards: Vec<(Box<str>, Paths)>,
    any: Paths,
}

/// A rule that matched.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a RulePlan,
    /// The path prefix that its match named, without trailing slash.
    pub prefix: &'a str,
}

impl HostTable {
    /// Adds a rule.
    pub(super) fn add(&mut self, plan: &Arc<RulePlan>) {
        for condition in 0..plan.rule.matches.len() {
            let entry = || Entry::new(Arc::clone(plan), condition);
            if plan.route.hostnames.is_empty() {
                self.any.add(entry());
            }
            for hostname in &plan.route.hostnames {
                match hostname {
                    Hostname::Exact(name) => {
                        self.exact.entry(name.clone()).or_default().add(entry());
                    }
                    Hostname::Wildcard(suffix) => self.wildcard(suffix).add(entry()),
                }
            }
        }
    }

    fn wildcard(&mut self, suffix: &str) -> &mut Paths {
        let index = match self
            .wildcards
            .iter()
            .position(|(known, _)| **known == *suffix)
        {
            Some(index) => index,
            None => {
                self.wildcards.push((suffix.into(), Paths::default()));
                self.wildcards.len() - 1
            }
        };
        &mut self.wildcards[index].1
    }

    /// Puts everything in order; to be called once all rules were added.
    pub(super) fn sort(&mut self) {
        self.wildcards
            .sort_by_key(|(suffix, _)| Reverse(suffix.len()));
        self.exact
            .values_mut()
            .chain(self.wildcards.iter_mut().map(|(_, paths)| paths))
            .chain([&mut self.any])
            .for_each(Paths::sort);
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
            .chain(wildcards.map(|(_, paths)| paths))
            .chain([&self.any])
            .find_map(|paths| paths.find(head))
    }
}

/// Whether `host` is one label or more before `suffix`, which starts with a dot.
fn ends_with_labels(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix)
        .is_some_and(|label| !label.is_empty())
}

#[cfg(test)]
mod tests;
