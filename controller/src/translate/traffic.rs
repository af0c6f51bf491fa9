//! TrafficPolicies.

use culvert_proto::waypoint::{Retry, RetryBudget, TrafficPolicy};

use super::finding::{Finding, Findings};
use super::locality;
use super::refs::{self, Targets};
use super::resilience;
use super::resource::{Message, Resource};
use super::route::duration;
use crate::admit::retry_on;
use crate::api::{self, RetryConstraint, TrafficPolicySpec};
use crate::model::{Key, Kind, NsName, Obj};
use crate::world::World;

/// What is tried again if a policy does not say.
const RETRY_ON: &str = "connect-failure,reset,unavailable";

/// The name of its resource.
#[must_use]
pub fn resource_name(name: &NsName) -> String {
    format!("{}/{name}", Kind::TrafficPolicy)
}

/// The policy; none if nothing that it is for exists.
#[must_use]
pub fn of(
    world: &World,
    policy: &Obj<TrafficPolicySpec>,
) -> (Option<Resource>, Vec<Finding>, Targets) {
    let (name, spec) = (&policy.meta.name, &policy.spec);
    let mut findings = Findings::new(Key {
        kind: Kind::TrafficPolicy,
        name: name.clone(),
    });
    let targets = refs::targets(world, &name.namespace, &spec.target_refs, &mut findings);
    let timeouts = spec.timeouts.unwrap_or_default();
    let balancer = spec.load_balancer.as_ref();
    let warmup = balancer.and_then(|balancer| balancer.warmup.as_ref());
    let near = balancer.and_then(|balancer| balancer.locality.as_ref());
    let (balancer, consistent_hash) = resilience::load_balancer(balancer);
    let record = TrafficPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets: targets.services.clone(),
        route_targets: targets.routes.clone(),
        retry: spec.retries.as_ref().map(retry),
        retry_budget: spec.retry_constraint.map(budget),
        request_timeout: timeouts.request.map(duration),
        backend_request_timeout: timeouts.backend_request.map(duration),
        load_balancer: balancer.into(),
        max_connections: spec.connection_pool.tcp.max_connections.unwrap_or_default(),
        max_pending_requests: spec
            .connection_pool
            .http
            .http1_max_pending_requests
            .unwrap_or_default(),
        max_requests: spec
            .connection_pool
            .http
            .http2_max_requests
            .unwrap_or_default(),
        outlier_detection: spec.outlier_detection.as_ref().map(resilience::outlier),
        consistent_hash,
        warmup: warmup.map(resilience::warmup),
        locality: near.map(locality::of),
        backend: false,
        session_persistence: None,
    };
    let resource = Resource {
        name: resource_name(name).into(),
        aliases: Vec::new(),
        message: Message::TrafficPolicy(Box::new(record)),
    };
    (
        (!targets.is_empty()).then_some(resource),
        findings.into_vec(),
        targets,
    )
}

fn retry(retries: &api::Retries) -> Retry {
    let text = retries.retry_on.as_deref().unwrap_or(RETRY_ON);
    // Was found good when the object was admitted.
    let (codes, conditions) = retry_on(text).unwrap_or_default();
    Retry {
        attempts: retries.attempts,
        codes,
        conditions,
        backoff: retries.backoff.map(duration),
        per_try_timeout: retries.per_try_timeout.map(duration),
    }
}

/// How many retries there may be in all, with every default filled in.
pub(super) fn budget(constraint: RetryConstraint) -> RetryBudget {
    let budget = constraint.budget;
    let interval = budget
        .and_then(|budget| budget.interval)
        .unwrap_or(api::Duration::from_secs(10));
    let rate = constraint.min_retry_rate;
    let count = rate.and_then(|rate| rate.count).unwrap_or(10);
    RetryBudget {
        percent: budget.and_then(|budget| budget.percent).unwrap_or(20),
        min_per_second: count,
        min_interval: rate.and_then(|rate| rate.interval).map(duration),
        interval: Some(duration(interval)),
        refuse: false,
    }
}
