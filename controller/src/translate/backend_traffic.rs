//! XBackendTrafficPolicies: what they say of Services, as waypoints and gateways are told. It is a TrafficPolicy that holds
//! for backends alone.
//!
//! Invariant: of several for one Service the oldest holds, then the first by name; a TrafficPolicy of the same Service that
//! states the same is before all of them. Each of the others says so in its status, for that Service alone.

use culvert_proto::waypoint::{RetryBudget, ServiceRef, TrafficPolicy};

use super::addressed::Addressed;
use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use super::{names, resilience, traffic};
use crate::admit::is_service;
use crate::api::{BackendTrafficPolicySpec, TargetRef};
use crate::model::{Key, Kind, Meta, NsName, Obj};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// The name of its resource.
#[must_use]
pub fn resource_name(name: &NsName) -> String {
    format!("{}/{name}", Kind::XBackendTrafficPolicy)
}

/// The policy, if it holds for any Service; and for which.
#[must_use]
pub fn of(
    world: &World,
    policy: &Obj<BackendTrafficPolicySpec>,
) -> (Option<Resource>, Vec<Finding>, Vec<NsName>) {
    let (name, spec) = (&policy.meta.name, &policy.spec);
    let mut findings = Findings::new(Key {
        kind: Kind::XBackendTrafficPolicy,
        name: name.clone(),
    });
    let mut services: Vec<NsName> = Vec::new();
    for (i, target) in spec.target_refs.iter().enumerate() {
        let at = FieldPath::of("spec.targetRefs").index(i);
        if !is_service(target) {
            continue;
        }
        let service = NsName::new(name.namespace.clone(), target.name.as_str());
        if services.contains(&service) {
            continue;
        }
        let accepted = ConditionType::Accepted;
        if Addressed::find(world, &Consumer::Service(service.clone())).is_none() {
            let message = format!("there is no Service {service}");
            findings.error(accepted, "TargetNotFound", at.key("name"), message);
            continue;
        }
        if let Some(other) = older(world, &policy.meta, target) {
            let message = format!(
                "{} {other} is for Service {service} already",
                Kind::XBackendTrafficPolicy
            );
            findings.error(accepted, "Conflicted", at, message);
            continue;
        }
        if spec.retry_constraint.is_some()
            && let Some(other) = stating(world, &service)
        {
            let message = format!(
                "TrafficPolicy {other} has a retryConstraint for Service {service}, which holds instead of this one's"
            );
            findings.note(ConditionType::Enforced, "Overridden", at, message);
        }
        services.push(service);
    }
    let record = TrafficPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets: services
            .iter()
            .map(|service| ServiceRef {
                service: names::service(&world.settings, service),
                port: 0,
            })
            .collect(),
        retry_budget: spec.retry_constraint.map(|constraint| RetryBudget {
            // So the Gateway API has it.
            refuse: true,
            ..traffic::budget(constraint)
        }),
        session_persistence: spec.session_persistence.as_ref().map(resilience::session),
        backend: true,
        ..TrafficPolicy::default()
    };
    let resource = Resource {
        name: resource_name(name).into(),
        aliases: Vec::new(),
        message: Message::TrafficPolicy(Box::new(record)),
    };
    let resource = (!services.is_empty()).then_some(resource);
    (resource, findings.into_vec(), services)
}

/// Another policy that names the target too and comes first.
fn older<'a>(world: &'a World, own: &Meta, target: &TargetRef) -> Option<&'a NsName> {
    let policies = world.cache.backend_traffic_policies.of(&own.name.namespace);
    let mut before = policies.filter(|other| {
        let mut targets = other.spec.target_refs.iter();
        other.meta.seniority() < own.seniority()
            && targets.any(|other| is_service(other) && other.name == target.name)
    });
    before.next().map(|other| &other.meta.name)
}

/// A TrafficPolicy that states a retryConstraint for the Service.
fn stating<'a>(world: &'a World, service: &NsName) -> Option<&'a NsName> {
    let mut policies = world.cache.traffic_policies.of(&service.namespace);
    let states = policies.find(|policy| {
        let mut targets = policy.spec.target_refs.iter();
        policy.spec.retry_constraint.is_some()
            && targets.any(|target| is_service(target) && *target.name == *service.name)
    });
    states.map(|policy| &policy.meta.name)
}

#[cfg(test)]
mod tests;
