//! FaultPolicies: to waypoints what happens to requests, to ztunnels what happens to connections.
//!
//! Invariant: a policy that has not begun or is over makes no resource, and says so in its condition.

use culvert_proto::node::{
    ConnectionBlackhole, ConnectionFault, ConnectionReset, ConnectionThrottle,
};
use culvert_proto::waypoint::{
    FaultAbort, FaultDelay, FaultExponential, FaultNormal, FaultPolicy, FaultTerm, FaultUniform,
};
use k8s_openapi::jiff::Timestamp;

use super::finding::{ConditionType, Finding, Findings};
use super::names;
use super::refs::{self, Targets};
use super::resource::{Message, Resource};
use super::route::{duration, headers};
use crate::admit::per_ten_thousand;
use crate::api::{Delay, FaultPolicySpec, Percentage, TcpFault};
use crate::model::{Key, Kind, NsName, Obj};
use crate::path::FieldPath;
use crate::world::World;

/// What a policy comes to.
#[derive(Debug, Default)]
pub struct Translated {
    /// None if nothing that it is for exists, or this is not its time.
    pub resources: Vec<Resource>,
    /// What is to be said of it.
    pub findings: Vec<Finding>,
    /// Whose requests it is for.
    pub targets: Targets,
}

/// When a policy begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Window {
    /// That of a policy.
    #[must_use]
    pub fn of(policy: &Obj<FaultPolicySpec>) -> Self {
        let stated = policy.spec.start_time.map(|time| time.get());
        let lasts = policy.spec.duration.map(|duration| duration.get());
        let end = lasts
            .zip(stated.or(policy.meta.created))
            // Beyond the end of the calendar there is no end.
            .and_then(|(lasts, start)| start.checked_add(lasts).ok());
        Self { start: stated, end }
    }

    /// What comes next, if anything does.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Option<Timestamp> {
        let moments = [self.start, self.end].into_iter().flatten();
        moments.filter(|moment| *moment > now).min()
    }
}

/// The resource's name on the wire.
#[must_use]
pub fn resource_name(policy: &NsName) -> String {
    format!("FaultPolicy/{policy}")
}

/// The policy.
#[must_use]
pub fn of(world: &World, policy: &Obj<FaultPolicySpec>) -> Translated {
    let (name, spec) = (&policy.meta.name, &policy.spec);
    let mut findings = Findings::new(Key {
        kind: Kind::FaultPolicy,
        name: name.clone(),
    });
    let targets = refs::targets(world, &name.namespace, &spec.target_refs, &mut findings);
    let window = Window::of(policy);
    let mut resources = Vec::new();
    if is_now(world.now, window, &mut findings) {
        let term = window.end.map(|end| term(end, spec));
        if (spec.delay.is_some() || spec.abort.is_some()) && !targets.is_empty() {
            resources.push(of_requests(policy, &targets, term));
        }
        if let Some(tcp) = &spec.tcp {
            let workloads = selected(world, policy);
            look_for_twins(world, policy, &mut findings);
            if !targets.services.is_empty() || !workloads.is_empty() {
                resources.push(of_connections(policy, tcp, &targets, workloads, term));
            }
        }
    }
    Translated {
        resources,
        findings: findings.into_vec(),
        targets,
    }
}

/// Whether a policy has begun and is not over.
fn is_now(now: Timestamp, window: Window, findings: &mut Findings) -> bool {
    let (reason, field, message) = match window {
        Window { end: Some(end), .. } if end <= now => (
            "Expired",
            "spec.duration",
            format!("is over since {end:.0}"),
        ),
        Window {
            start: Some(start), ..
        } if start > now => ("Pending", "spec.startTime", format!("begins at {start:.0}")),
        _ => return true,
    };
    findings.note(
        ConditionType::Enforced,
        reason,
        FieldPath::of(field),
        message,
    );
    false
}

fn of_requests(
    policy: &Obj<FaultPolicySpec>,
    targets: &Targets,
    term: Option<FaultTerm>,
) -> Resource {
    let (name, spec) = (&policy.meta.name, &policy.spec);
    let record = FaultPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets: targets.services.clone(),
        route_targets: targets.routes.clone(),
        delay: spec.delay.as_ref().map(delay),
        abort: spec.abort.as_ref().map(|abort| FaultAbort {
            http_status: abort.http_status.unwrap_or(503).into(),
            per_ten_thousand: share(abort.percentage),
            grpc_status: abort.grpc_status.map_or(0, |status| status.0),
            has_grpc_status: abort.grpc_status.is_some(),
        }),
        headers: headers(&spec.matches.headers),
        principals: spec.matches.principals.clone(),
        term,
    };
    Resource {
        name: resource_name(name).into(),
        aliases: Vec::new(),
        message: Message::FaultPolicy(record),
    }
}

fn of_connections(
    policy: &Obj<FaultPolicySpec>,
    tcp: &TcpFault,
    targets: &Targets,
    workloads: Vec<String>,
    term: Option<FaultTerm>,
) -> Resource {
    let name = &policy.meta.name;
    let record = ConnectionFault {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets: targets.services.clone(),
        workloads,
        principals: policy.spec.matches.principals.clone(),
        delay: tcp.delay.as_ref().map(delay),
        reset: tcp.reset.as_ref().map(|reset| ConnectionReset {
            per_ten_thousand: share(reset.percentage),
            after_bytes: reset.after_bytes.unwrap_or_default().into(),
        }),
        blackhole: tcp.blackhole.as_ref().map(|blackhole| ConnectionBlackhole {
            per_ten_thousand: share(blackhole.percentage),
        }),
        throttle: tcp.throttle.as_ref().map(|throttle| ConnectionThrottle {
            per_ten_thousand: share(throttle.percentage),
            bytes_per_second: throttle.bytes_per_second.into(),
        }),
        term,
    };
    Resource {
        name: resource_name(name).into(),
        aliases: Vec::new(),
        message: Message::ConnectionFault(record),
    }
}

/// Where pods are reached, ports of a service that lead to one port of theirs are one: a policy for some of them strikes
/// nothing, which nobody would guess.
fn look_for_twins(world: &World, policy: &Obj<FaultPolicySpec>, findings: &mut Findings) {
    let refs = &policy.spec.target_refs;
    for (i, target) in refs.iter().enumerate() {
        let name = NsName::new(policy.meta.name.namespace.clone(), target.name.as_str());
        if target.kind != "Service" {
            continue;
        }
        let Some((section, service)) = target
            .section_name
            .as_ref()
            .zip(world.cache.services.get(&name))
        else {
            continue;
        };
        let ports = &service.spec.ports;
        let own = ports.iter().find(|port| port.name == *section);
        let is_named = |port: &str| {
            let mut others = refs.iter().filter(|other| other.name == target.name);
            others.any(|other| {
                other
                    .section_name
                    .as_deref()
                    .is_none_or(|name| name == port)
            })
        };
        let mut twins = ports.iter().filter(|port| {
            own.is_some_and(|own| own.target == port.target) && !is_named(&port.name)
        });
        if let Some(twin) = twins.next() {
            findings.note(
                ConditionType::Enforced,
                "PortShared",
                FieldPath::of("spec.targetRefs").index(i).key("sectionName"),
                format!(
                    "strikes no connection, since port {:?} leads to the same port of the pods of Service {name}: name both",
                    twin.name
                ),
            );
        }
    }
}

/// The workloads that a policy's selector names, in order.
fn selected(world: &World, policy: &Obj<FaultPolicySpec>) -> Vec<String> {
    let Some(selector) = &policy.spec.selector else {
        return Vec::new();
    };
    let pods = world.cache.pods.of(&policy.meta.name.namespace);
    let pods = pods.filter(|pod| selector.matches(&pod.meta.labels));
    let mut uids: Vec<_> = pods
        .map(|pod| names::pod_uid(&world.settings, &pod.meta.name))
        .collect();
    uids.sort_unstable();
    uids
}

/// The policies whose faults a pod's node must know of, given the services that the pod is an endpoint of.
pub fn striking<'a>(
    world: &'a World,
    pod: &'a Obj<crate::model::Pod>,
    services: &'a std::collections::BTreeSet<NsName>,
) -> impl Iterator<Item = &'a NsName> {
    let policies = world.cache.fault_policies.of(&pod.meta.name.namespace);
    let strikes = move |policy: &&std::sync::Arc<Obj<FaultPolicySpec>>| {
        let spec = &policy.spec;
        let mut targets = spec.target_refs.iter();
        let is_endpoint = |name: &str| {
            let name = NsName::new(pod.meta.name.namespace.clone(), name);
            services.contains(&name)
        };
        let selector = spec.selector.as_ref();
        spec.tcp.is_some()
            && (selector.is_some_and(|selector| selector.matches(&pod.meta.labels))
                || targets.any(|target| target.kind == "Service" && is_endpoint(&target.name)))
    };
    policies.filter(strikes).map(|policy| &policy.meta.name)
}

fn term(end: Timestamp, spec: &FaultPolicySpec) -> FaultTerm {
    FaultTerm {
        not_after: Some(prost_types::Timestamp {
            seconds: end.as_second(),
            nanos: end.subsec_nanosecond(),
        }),
        lasts: spec.duration.map(duration),
    }
}

fn delay(delay: &Delay) -> FaultDelay {
    FaultDelay {
        per_ten_thousand: share(delay.percentage),
        fixed: delay.fixed_delay.map(duration),
        uniform: delay.uniform.map(|uniform| FaultUniform {
            min: Some(duration(uniform.min)),
            max: Some(duration(uniform.max)),
        }),
        normal: delay.normal.map(|normal| FaultNormal {
            mean: Some(duration(normal.mean)),
            std_dev: Some(duration(normal.std_dev)),
            max: Some(duration(normal.max)),
        }),
        exponential: delay.exponential.map(|exponential| FaultExponential {
            mean: Some(duration(exponential.mean)),
            max: Some(duration(exponential.max)),
        }),
    }
}

/// Was found good when the object was admitted.
fn share(percentage: Option<Percentage>) -> u32 {
    per_ten_thousand(percentage).unwrap_or_default()
}

#[cfg(test)]
mod tests;
