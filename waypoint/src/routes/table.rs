//! Which rule serves a request: the Gateway API's precedence, sorted once.
//!
//! Invariant: the first rule that matches in the table's order is the one that the Gateway API names: the most
//! specific host name, then exact path, longest prefix, method, number of headers, number of query parameters, then
//! the oldest route, then alphabetical order, then the order inside the route.

use std::sync::Arc;

use crate::config::matcher::Head;
use crate::config::route::Hostname;

use super::hosts::Hosts;
use super::plan::RulePlan;

mod paths;

use paths::{Entry, Paths};

/// The rules of one port of a service, or of one listener, by host.
#[derive(Debug, Default)]
pub struct HostTable(Hosts<Paths>);

/// A rule that matched.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a RulePlan,
    /// The path prefix that its match named, without trailing slash.
    pub prefix: &'a str,
}

impl HostTable {
    /// Adds a rule for these hosts; without any, for every host.
    pub(super) fn add(&mut self, plan: &Arc<RulePlan>, hostnames: &[Hostname]) {
        for condition in 0..plan.rule.matches.len() {
            let entry = || Entry::new(Arc::clone(plan), condition);
            self.0.each(hostnames, |paths| paths.add(entry()));
        }
    }

    /// Puts everything in order; to be called once all rules were added.
    pub(super) fn sort(&mut self) {
        self.0.finish(Paths::sort);
    }

    /// The rule for a request to `host` (canonical, without port).
    pub fn find<'a>(&'a self, host: &str, head: &Head<'_>) -> Option<Found<'a>> {
        self.0.candidates(host).find_map(|paths| paths.find(head))
    }
}

#[cfg(test)]
mod tests;
