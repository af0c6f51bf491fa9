//! TrafficPolicies, and what policies in general may target.

use super::names::{dns_label, dns_subdomain};
use super::{http_route, resilience};
use crate::api::{Retries, RetryConstraint, TargetRef, TrafficPolicySpec};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

const MAX_ATTEMPTS: u32 = 100;

/// Conditions of a retry, as they are written and as a waypoint knows them.
const CONDITIONS: [(&str, &str); 11] = [
    ("connect-failure", "connect-failure"),
    ("reset", "reset"),
    ("5xx", "5xx"),
    ("gateway-error", "gateway-error"),
    ("retriable-4xx", "retriable-4xx"),
    ("per-try-timeout", "per-try-timeout"),
    ("cancelled", "grpc-cancelled"),
    ("deadline-exceeded", "grpc-deadline-exceeded"),
    ("internal", "grpc-internal"),
    ("resource-exhausted", "grpc-resource-exhausted"),
    ("unavailable", "grpc-unavailable"),
];

/// What `retryOn` says: status codes, and conditions as a waypoint knows them.
pub(crate) fn retry_on(text: &str) -> Result<(Vec<u32>, Vec<String>), String> {
    let (mut codes, mut conditions) = (Vec::new(), Vec::new());
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let condition = CONDITIONS.iter().find(|(written, _)| *written == word);
        match (condition, word.parse::<u32>()) {
            (Some((_, known)), _) => conditions.push((*known).to_owned()),
            (None, Ok(code)) if (400..=599).contains(&code) => codes.push(code),
            _ => {
                let known: Vec<_> = CONDITIONS.iter().map(|(written, _)| *written).collect();
                return Err(format!(
                    "{word:?} is no status code from 400 to 599 and none of {}",
                    known.join(", ")
                ));
            }
        }
    }
    Ok((codes, conditions))
}

/// References have the right form, and lead to kinds that this policy can be for.
pub(super) fn check_targets(
    meta: &Meta,
    targets: &[TargetRef],
    kinds: &[&str],
    issues: &mut Issues,
) {
    for (i, target) in targets.iter().enumerate() {
        let at = FieldPath::of("spec.targetRefs").index(i);
        let group = match target.kind.as_str() {
            "Service" => "",
            "ServiceEntry" => "culvert.dev",
            _ => "gateway.networking.k8s.io",
        };
        let core = target.kind == "Service" && target.group == "core";
        if !kinds.contains(&target.kind.as_str()) {
            let message = format!("{:?} is none of {}", target.kind, kinds.join(", "));
            issues.add(at.key("kind"), message);
        } else if target.group != group && !core {
            let message = format!("{:?} has no {}, {group:?} has", target.group, target.kind);
            issues.add(at.key("group"), message);
        }
        issues.take(&at.key("name"), dns_subdomain(&target.name));
        let foreign = target
            .namespace
            .as_deref()
            .filter(|ns| *ns != &*meta.name.namespace);
        if let Some(namespace) = foreign {
            let message = format!("{namespace:?} is another namespace than the policy's own");
            issues.add(at.key("namespace"), message);
        }
        if let Some(section) = &target.section_name {
            issues.take(&at.key("sectionName"), dns_label(section));
            if !matches!(target.kind.as_str(), "Service" | "ServiceEntry") {
                let message = "names a port of a Service or ServiceEntry only";
                issues.add(at.key("sectionName"), message);
            }
        }
    }
}

fn need_targets(targets: &[TargetRef], issues: &mut Issues) {
    if targets.is_empty() {
        issues.add(FieldPath::of("spec.targetRefs"), "is empty");
    }
}

pub(super) fn check_traffic(meta: &Meta, spec: &TrafficPolicySpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    need_targets(&spec.target_refs, issues);
    check_targets(
        meta,
        &spec.target_refs,
        &["Service", "ServiceEntry", "HTTPRoute", "GRPCRoute"],
        issues,
    );
    resilience::check_of_service(spec, issues);
    if let Some(balancer) = &spec.load_balancer {
        resilience::check_load_balancer(balancer, &at.key("loadBalancer"), issues);
    }
    if let Some(outlier) = &spec.outlier_detection {
        resilience::check_outlier(outlier, &at.key("outlierDetection"), issues);
    }
    if let Some(timeouts) = &spec.timeouts {
        http_route::check_timeouts(timeouts, &at.key("timeouts"), issues);
    }
    if let Some(retries) = &spec.retries {
        check_retries(retries, &at.key("retries"), issues);
    }
    if let Some(constraint) = &spec.retry_constraint {
        check_retry_constraint(*constraint, &at.key("retryConstraint"), issues);
    }
}

/// How many retries there may be in all.
pub(super) fn check_retry_constraint(
    constraint: RetryConstraint,
    at: &FieldPath,
    issues: &mut Issues,
) {
    let (budget, rate) = (constraint.budget, constraint.min_retry_rate);
    let percent = budget.and_then(|budget| budget.percent);
    if percent.is_some_and(|percent| percent > 100) {
        issues.add(at.key("budget").key("percent"), "is more than 100");
    }
    let intervals = [
        ("budget", budget.and_then(|budget| budget.interval)),
        ("minRetryRate", rate.and_then(|rate| rate.interval)),
    ];
    for (member, interval) in intervals {
        if interval.is_some_and(|interval| interval.get().is_zero()) {
            issues.add(at.key(member).key("interval"), "is zero");
        }
    }
}

fn check_retries(retries: &Retries, at: &FieldPath, issues: &mut Issues) {
    if retries.attempts > MAX_ATTEMPTS {
        issues.add(at.key("attempts"), format!("is more than {MAX_ATTEMPTS}"));
    }
    if let Some(text) = &retries.retry_on {
        issues.take(&at.key("retryOn"), retry_on(text));
    }
    if retries
        .per_try_timeout
        .is_some_and(|timeout| timeout.get().is_zero())
    {
        issues.add(at.key("perTryTimeout"), "is zero");
    }
}
