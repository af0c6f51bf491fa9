//! What concerns one node, and what concerns one waypoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdSet;

use super::facts::Facts;
use super::snapshot::Resources;
use crate::model::{Kind, NsName};
use crate::translate::names;
use crate::world::{Consumer, World};

/// What concerns one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Its pods, for its agent.
    pub pods: Resources,
    /// Policies that its workloads name.
    pub policies: OrdSet<Arc<str>>,
    /// Namespaces and service accounts of its enrolled pods.
    pub identities: OrdSet<(Arc<str>, Arc<str>)>,
}

/// What concerns one waypoint: names of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Whom it is asked to serve.
    pub consumers: BTreeSet<Consumer>,
    /// Services, endpoints, itself.
    pub addresses: BTreeSet<Arc<str>>,
    /// Policies of its endpoints, and those for its services.
    pub authorizations: BTreeSet<Arc<str>>,
    /// Those of them that are about itself.
    pub waived: BTreeSet<Arc<str>>,
    /// HTTPRoutes and GRPCRoutes.
    pub routes: BTreeSet<Arc<str>>,
    /// TrafficPolicies.
    pub traffic: BTreeSet<Arc<str>>,
    /// FaultPolicies.
    pub faults: BTreeSet<Arc<str>>,
    /// Services in it, its own and those that its routes lead to.
    pub services: BTreeSet<NsName>,
}

impl Scope {
    /// What concerns `waypoint` now.
    pub(super) fn of(world: &World, facts: &Facts, waypoint: &NsName) -> Self {
        let mut scope = Self {
            consumers: facts.uses.get(waypoint).cloned().unwrap_or_default(),
            ..Self::default()
        };
        scope
            .addresses
            .insert(names::gateway_uid(&world.settings, waypoint).into());
        for consumer in scope.consumers.clone() {
            match &consumer {
                Consumer::Service(service) => scope.add_served(world, facts, service),
                Consumer::Pod(pod) => scope.add_pod(facts, pod, waypoint),
            }
        }
        for service in scope.services.clone() {
            scope
                .addresses
                .insert(names::service(&world.settings, &service).into());
            let endpoints = facts.endpoints.get(&service).into_iter().flatten();
            for endpoint in endpoints {
                scope.addresses.insert(endpoint.clone());
                if let Some(pod) = names::pod_of_uid(&world.settings, endpoint) {
                    scope.add_pod(facts, &pod, waypoint);
                }
            }
        }
        scope.add_targeting(world, waypoint, "Gateway");
        scope
    }

    fn add_served(&mut self, world: &World, facts: &Facts, service: &NsName) {
        self.services.insert(service.clone());
        self.add_targeting(world, service, "Service");
        let traffic = |name: &NsName| format!("TrafficPolicy/{name}").into();
        let fault = |name: &NsName| format!("FaultPolicy/{name}").into();
        self.traffic
            .extend(facts.traffic.0.of(service).map(traffic));
        self.faults.extend(facts.faults.0.of(service).map(fault));
        for route in facts.routes.of(service) {
            self.routes.insert(names::route(route).into());
            if route.kind == Kind::HttpRoute {
                let policies = facts.traffic.1.of(&route.name);
                self.traffic.extend(policies.map(traffic));
                let policies = facts.faults.1.of(&route.name);
                self.faults.extend(policies.map(fault));
            }
            self.services
                .extend(facts.backends.get(route).into_iter().flatten().cloned());
        }
    }

    fn add_pod(&mut self, facts: &Facts, pod: &NsName, waypoint: &NsName) {
        let Some(pod) = facts.pods.get(pod) else {
            return;
        };
        self.addresses.extend(pod.workload.clone());
        self.authorizations.extend(pod.policies.iter().cloned());
        if let Some((guard, _)) = pod
            .guard
            .as_ref()
            .filter(|(_, admits)| admits.contains(waypoint))
        {
            self.waived.insert(guard.clone());
        }
    }

    fn add_targeting(&mut self, world: &World, target: &NsName, kind: &str) {
        for policy in world.cache.authorization_policies.of(&target.namespace) {
            let mut targets = policy.spec.target_refs.iter();
            if targets.any(|t| t.kind == kind && *t.name == *target.name) {
                self.authorizations
                    .insert(policy.meta.name.to_string().into());
            }
        }
    }
}
