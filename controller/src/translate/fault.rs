//! FaultPolicies.

use culvert_proto::waypoint::{FaultAbort, FaultDelay, FaultPolicy};

use super::finding::{Finding, Findings};
use super::refs::{self, Targets};
use super::resource::{Message, Resource};
use super::route::{duration, headers};
use crate::admit::per_ten_thousand;
use crate::api::{FaultPolicySpec, Percentage};
use crate::model::{Key, Kind, Obj};
use crate::world::World;

/// The policy; none if nothing that it is for exists.
#[must_use]
pub fn of(
    world: &World,
    policy: &Obj<FaultPolicySpec>,
) -> (Option<Resource>, Vec<Finding>, Targets) {
    let (name, spec) = (&policy.meta.name, &policy.spec);
    let mut findings = Findings::new(Key {
        kind: Kind::FaultPolicy,
        name: name.clone(),
    });
    let targets = refs::targets(world, &name.namespace, &spec.target_refs, &mut findings);
    let record = FaultPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets: targets.services.clone(),
        route_targets: targets.routes.clone(),
        delay: spec.delay.as_ref().map(|delay| FaultDelay {
            fixed: Some(duration(delay.fixed_delay)),
            per_ten_thousand: share(delay.percentage),
        }),
        abort: spec.abort.as_ref().map(|abort| FaultAbort {
            http_status: abort.http_status.unwrap_or(503).into(),
            per_ten_thousand: share(abort.percentage),
            grpc_status: abort.grpc_status.map_or(0, |status| status.0),
            has_grpc_status: abort.grpc_status.is_some(),
        }),
        headers: headers(&spec.matches.headers),
        principals: spec.matches.principals.clone(),
    };
    let resource = Resource {
        name: format!("FaultPolicy/{name}").into(),
        aliases: Vec::new(),
        message: Message::FaultPolicy(record),
    };
    (
        (!targets.is_empty()).then_some(resource),
        findings.into_vec(),
        targets,
    )
}

/// Was found good when the object was admitted.
fn share(percentage: Option<Percentage>) -> u32 {
    per_ten_thousand(percentage).unwrap_or_default()
}
