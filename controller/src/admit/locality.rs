//! What TrafficPolicies say of where endpoints are.

use std::collections::BTreeSet;

use crate::api::{Locality, LocalityLevel, LocalityMode};
use crate::path::{FieldPath, Issues};

/// More regions than anybody has.
const MAX_FAILOVERS: usize = 64;

pub(super) fn check(locality: &Locality, at: &FieldPath, issues: &mut Issues) {
    let levels = locality.failover_priority.as_deref();
    if let Some(levels) = levels {
        let at = at.key("failoverPriority");
        if levels.is_empty() {
            issues.add(at, "is empty");
        } else if !levels.is_sorted_by(|wide, narrow| wide < narrow) {
            let message = "does not go from wide to narrow, each once: Region, Zone, Subzone, Node";
            issues.add(at, message);
        }
    }
    if locality.mode == LocalityMode::Disabled && levels.is_some() {
        issues.add(
            at.key("failoverPriority"),
            "is there although mode is Disabled",
        );
    }
    check_failover(locality, &at.key("failover"), issues);
}

fn check_failover(locality: &Locality, at: &FieldPath, issues: &mut Issues) {
    if locality.failover.is_empty() {
        return;
    }
    if locality.mode != LocalityMode::Failover {
        issues.add(at.clone(), "is there although mode is not Failover");
    }
    let levels = locality.failover_priority.as_deref();
    let first = levels.is_none_or(|levels| levels.first() == Some(&LocalityLevel::Region));
    if !first {
        issues.add(
            at.clone(),
            "needs a failoverPriority that begins with Region",
        );
    }
    if locality.failover.len() > MAX_FAILOVERS {
        issues.add(at.clone(), format!("has more than {MAX_FAILOVERS}"));
    }
    let mut known = BTreeSet::new();
    for (index, failover) in locality.failover.iter().enumerate() {
        let at = at.index(index);
        for (member, region) in [("from", &failover.from), ("to", &failover.to)] {
            if region.is_empty() {
                issues.add(at.key(member), "is empty");
            }
        }
        if failover.from == failover.to {
            issues.add(at.key("to"), "is the same as from");
        }
        if !known.insert(&failover.from) {
            issues.add(at.key("from"), format!("{:?} stands twice", failover.from));
        }
    }
}
