//! XBackendTrafficPolicies: what they say of Services. Targets of other kinds are for other controllers.

use super::names::dns_subdomain;
use super::resilience::check_session;
use super::traffic::check_retry_constraint;
use crate::api::{BackendTrafficPolicySpec, RetryConstraint, TargetRef};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

const HOUR: u64 = 3600;
/// Retries in an interval, as the API has it.
const MOST: u32 = 1_000_000;

/// Whether a target is ours to look at.
pub(crate) fn is_service(target: &TargetRef) -> bool {
    target.kind == "Service" && matches!(target.group.as_str(), "" | "core")
}

pub(super) fn check(_meta: &Meta, spec: &BackendTrafficPolicySpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    if spec.target_refs.is_empty() {
        issues.add(at.key("targetRefs"), "is empty");
    }
    for (i, target) in spec.target_refs.iter().enumerate() {
        let at = at.key("targetRefs").index(i);
        issues.take(&at.key("name"), dns_subdomain(&target.name));
        for (field, given) in [
            ("namespace", target.namespace.is_some()),
            ("sectionName", target.section_name.is_some()),
        ] {
            if given {
                let message =
                    "cannot be named: the policy is for whole backends of its own namespace";
                issues.add(at.key(field), message);
            }
        }
    }
    if let Some(constraint) = &spec.retry_constraint {
        let at = at.key("retryConstraint");
        check_retry_constraint(*constraint, &at, issues);
        check_bounds(*constraint, &at, issues);
    }
    if let Some(session) = &spec.session_persistence {
        check_session(session, &at.key("sessionPersistence"), issues);
    }
}

/// What is narrower than for a TrafficPolicy.
fn check_bounds(constraint: RetryConstraint, at: &FieldPath, issues: &mut Issues) {
    let interval = constraint.budget.and_then(|budget| budget.interval);
    let seconds = interval.map(|interval| interval.get().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "an hour is exact")]
    let hour = HOUR as f64;
    if seconds.is_some_and(|seconds| !(1.0..=hour).contains(&seconds)) {
        let at = at.key("budget").key("interval");
        issues.add(at, "is not between one second and one hour");
    }
    let Some(rate) = constraint.min_retry_rate else {
        return;
    };
    let at = at.key("minRetryRate");
    if rate.count.is_some_and(|count| !(1..=MOST).contains(&count)) {
        issues.add(at.key("count"), format!("is not between 1 and {MOST}"));
    }
    if rate
        .interval
        .is_some_and(|interval| interval.get().as_secs_f64() > hour)
    {
        issues.add(at.key("interval"), "is longer than one hour");
    }
}
