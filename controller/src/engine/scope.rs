//! What concerns one node, and what concerns one waypoint or gateway.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdSet;

use super::facts::Facts;
use super::snapshot::Resources;
use crate::model::{Key, Kind, NsName};
use crate::translate::{ingress, ingresses, names, waypoint};
use crate::world::{Consumer, World};

/// What concerns one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Its pods, for its agent.
    pub pods: Resources,
    /// Policies that its workloads name.
    pub policies: OrdSet<Arc<str>>,
    /// EgressPolicies that its workloads name.
    pub egress: OrdSet<Arc<str>>,
    /// Faults of connections that may strike its workloads.
    pub faults: OrdSet<Arc<str>>,
    /// Namespaces and service accounts of its enrolled pods.
    pub identities: OrdSet<(Arc<str>, Arc<str>)>,
}

/// What concerns one waypoint or gateway: names of resources.
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
    /// TLSRoutes and TCPRoutes.
    pub streams: BTreeSet<Arc<str>>,
    /// Itself, if it is a gateway.
    pub gateways: BTreeSet<Arc<str>>,
    /// What its listeners prove themselves with.
    pub certificates: BTreeSet<Arc<str>>,
    /// BackendTLSPolicies.
    pub backend_tls: BTreeSet<Arc<str>>,
    /// TrafficPolicies.
    pub traffic: BTreeSet<Arc<str>>,
    /// FaultPolicies.
    pub faults: BTreeSet<Arc<str>>,
    /// Services in it: those that it serves, those that its routes lead to, and what it is deployed as itself.
    pub services: BTreeSet<Consumer>,
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
                Consumer::Service(_) | Consumer::Entry(_) => {
                    scope.add_served(world, facts, &consumer);
                }
                Consumer::Pod(pod) => scope.add_pod(facts, pod, waypoint),
            }
        }
        let object = world.cache.gateways.get(waypoint);
        if ingresses::is_gateway(world, waypoint) {
            scope.add_gateway(world, facts, waypoint, &ingresses::secrets(world));
        } else if let Some(object) = object.filter(|object| object.spec.listeners.is_some()) {
            scope.add_gateway(world, facts, waypoint, &ingress::secrets(world, object));
        }
        if waypoint::is_deployed(world, waypoint) {
            // Its own instances: each finds out there where it is.
            scope.services.insert(Consumer::Service(waypoint.clone()));
        }
        for service in scope.services.clone() {
            let policies = facts.backend_tls.of(&service);
            let policies = policies.map(|policy| names::backend_tls(policy).into());
            scope.backend_tls.extend(policies);
            let Consumer::Service(service) = service else {
                let made = facts.entries.get(service.name()).into_iter().flatten();
                scope.addresses.extend(made.cloned());
                continue;
            };
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

    fn add_served(&mut self, world: &World, facts: &Facts, service: &Consumer) {
        self.services.insert(service.clone());
        self.add_targeting(world, service.name(), service.kind().as_str());
        self.add_policies(facts.traffic.0.of(service), facts.faults.0.of(service));
        for route in facts.routes.of(service) {
            self.add_route(facts, route);
        }
    }

    /// A gateway's listeners with their Secrets, and what the routes that are attached to them lead to.
    fn add_gateway(
        &mut self,
        world: &World,
        facts: &Facts,
        gateway: &NsName,
        secrets: &BTreeSet<NsName>,
    ) {
        self.gateways.insert(names::gateway(gateway).into());
        let secrets = secrets.iter().map(|name| names::certificate(name).into());
        self.certificates.extend(secrets);
        for route in facts.attached.routes(gateway) {
            self.add_route(facts, route);
        }
        for service in self.services.clone() {
            self.add_policies(facts.traffic.0.of(&service), facts.faults.0.of(&service));
            // What a service's waypoint decides, it decides for the gateway's clients too.
            let Some(through) = facts.used_by(&service) else {
                continue;
            };
            if waypoint::is_deployed(world, through) {
                self.services.insert(Consumer::Service(through.clone()));
            } else {
                let uid = names::gateway_uid(&world.settings, through);
                self.addresses.insert(uid.into());
            }
        }
    }

    fn add_route(&mut self, facts: &Facts, route: &Key) {
        let name = || names::route(route).into();
        match route.kind {
            Kind::HttpRoute | Kind::GrpcRoute => drop(self.routes.insert(name())),
            Kind::Ingress => self.routes.extend(facts.parts(route).iter().cloned()),
            _ => drop(self.streams.insert(name())),
        }
        self.add_policies(facts.traffic.1.of(route), facts.faults.1.of(route));
        self.services
            .extend(facts.backends.get(route).into_iter().flatten().cloned());
    }

    fn add_policies<'a>(
        &mut self,
        traffic: impl Iterator<Item = &'a Arc<str>>,
        faults: impl Iterator<Item = &'a NsName>,
    ) {
        self.traffic.extend(traffic.cloned());
        self.faults
            .extend(faults.map(|name| format!("FaultPolicy/{name}").into()));
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
