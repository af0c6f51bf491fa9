//! Pods that admit nobody but their waypoint, because someone relies on the waypoint to decide who may come.

use std::collections::BTreeSet;

use culvert_proto::istio::security::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match::MatchType,
};

use super::authorization::everything;
use super::names;
use super::resource::{Message, Resource};
use super::waypoint::{self, Use};
use crate::model::{NsName, Obj, Pod};
use crate::world::{Consumer, World};

/// Whom a pod admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    root: String,
    /// These waypoints. None: nobody.
    waypoints: BTreeSet<NsName>,
}

/// The guard of a pod, if it needs one: where a waypoint for workloads is mandatory, or where an AuthorizationPolicy with
/// `targetRefs` is for one of its services or their waypoint, programmed or not.
#[must_use]
pub fn of<'a>(
    world: &World,
    pod: &Obj<Pod>,
    services: impl Iterator<Item = &'a NsName>,
) -> Option<Guard> {
    let mut waypoints = BTreeSet::new();
    let mut needed = false;
    let mut possible = true;
    let consumer = Consumer::Pod(pod.meta.name.clone());
    match waypoint::of(world, &consumer).0 {
        Use::Through(gateway, _) => {
            needed = true;
            waypoints.insert(gateway);
        }
        Use::Refused(..) => (needed, possible) = (true, false),
        Use::Pending(gateway) if gateway_has_policy(world, &gateway) => {
            needed = true;
            waypoints.insert(gateway);
        }
        Use::Pending(_) | Use::None => {}
    }
    for service in services {
        let gateway = waypoint::usable_for(world, &Consumer::Service(service.clone()));
        let by_gateway = gateway
            .as_ref()
            .is_some_and(|gateway| gateway_has_policy(world, gateway));
        if by_gateway || service_has_policy(world, service) {
            needed = true;
            match gateway {
                Some(gateway) => drop(waypoints.insert(gateway)),
                None => possible = false,
            }
        }
    }
    let root = world.settings.root_namespace().to_owned();
    let waypoints = if possible { waypoints } else { BTreeSet::new() };
    needed.then_some(Guard { root, waypoints })
}

fn service_has_policy(world: &World, service: &NsName) -> bool {
    has_policy(world, service, "Service")
}

fn gateway_has_policy(world: &World, gateway: &NsName) -> bool {
    has_policy(world, gateway, "Gateway")
}

/// Whether an AuthorizationPolicy is for an object of this kind.
pub(super) fn has_policy(world: &World, target: &NsName, kind: &str) -> bool {
    let policies = world.cache.authorization_policies.of(&target.namespace);
    let mut targets = policies.flat_map(|policy| &policy.spec.target_refs);
    targets.any(|t| t.kind == kind && *t.name == *target.name)
}

impl Guard {
    /// `NAMESPACE/NAME` of its policy. Pods with the same guard name the same policy.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.root, self.policy())
    }

    /// The waypoints that it lets through.
    #[must_use]
    pub fn waypoints(&self) -> &BTreeSet<NsName> {
        &self.waypoints
    }

    /// Denies all others.
    #[must_use]
    pub fn resource(&self, world: &World) -> Resource {
        if self.waypoints.is_empty() {
            return self.named(vec![everything()]);
        }
        let principal = |waypoint: &NsName| {
            let principal = names::principal(world, &waypoint.namespace, &waypoint.name);
            StringMatch {
                match_type: Some(MatchType::Exact(principal)),
            }
        };
        let not_principals = self.waypoints.iter().map(principal).collect();
        let matches = vec![Match {
            not_principals,
            ..Match::default()
        }];
        self.named(vec![Rule {
            clauses: vec![Clause { matches }],
        }])
    }

    /// What the waypoint itself is told under the same name: it evaluates the pods' policies with its clients' identities,
    /// and this one is about its own.
    #[must_use]
    pub fn waived(&self) -> Resource {
        self.named(Vec::new())
    }

    fn policy(&self) -> String {
        if self.waypoints.is_empty() {
            return "culvert_admit_nobody".into();
        }
        let names = self
            .waypoints
            .iter()
            .map(|w| format!("{}.{}", w.namespace, w.name));
        format!("culvert_admit_only_{}", names.collect::<Vec<_>>().join("_"))
    }

    fn named(&self, rules: Vec<Rule>) -> Resource {
        let record = Authorization {
            name: self.policy(),
            namespace: self.root.clone(),
            scope: Scope::WorkloadSelector.into(),
            action: Action::Deny.into(),
            rules,
            ..Authorization::default()
        };
        Resource {
            name: self.name().into(),
            aliases: Vec::new(),
            message: Message::Authorization(record),
        }
    }
}
