//! What concerns each node and each waypoint or gateway, kept in step: only those views are made anew that a change has something to
//! do with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::facts::{Facts, PodFacts};
use super::snapshot::Resources;
use super::target::Target;
use super::{NodeView, Scope};
use crate::model::NsName;
use crate::translate::listener::GatewayState;
use crate::translate::{backend_tls, ingress, ingresses};
use crate::world::{Consumer, World};

/// What concerns each node and each waypoint.
#[derive(Debug, Default)]
pub(super) struct Views {
    on_nodes: HashMap<Arc<str>, OnNode>,
    pub(super) nodes: OrdMap<Arc<str>, Arc<NodeView>>,
    pub(super) waypoints: OrdMap<NsName, Arc<Scope>>,
    /// What became of the listeners of gateways.
    pub(super) gateways: OrdMap<NsName, Arc<GatewayState>>,
    /// Nodes whose view may differ.
    stale: BTreeSet<Arc<str>>,
    /// Services whose endpoints were made anew.
    moved: BTreeSet<Consumer>,
    /// Waypoints by the services in their scope.
    serving: HashMap<Consumer, BTreeSet<NsName>>,
}

/// What a node's pods need, with how many of them need it.
#[derive(Debug, Default)]
struct OnNode {
    pods: Resources,
    policies: Counted<Arc<str>>,
    egress: Counted<Arc<str>>,
    faults: Counted<Arc<str>>,
    identities: Counted<(Arc<str>, Arc<str>)>,
}

#[derive(Debug)]
struct Counted<T: Ord> {
    counts: HashMap<T, usize>,
    present: OrdSet<T>,
}

impl<T: Ord> Default for Counted<T> {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            present: OrdSet::new(),
        }
    }
}

impl<T: Clone + Eq + Hash + Ord> Counted<T> {
    fn add(&mut self, value: &T) {
        let count = self.counts.entry(value.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.present.insert(value.clone());
        }
    }

    fn remove(&mut self, value: &T) {
        if let Some(count) = self.counts.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(value);
                self.present.remove(value);
            }
        }
    }
}

impl Views {
    /// A node's pods, for its agent.
    pub(super) fn pods(&self, node: &str) -> Option<&Resources> {
        self.on_nodes.get(node).map(|on_node| &on_node.pods)
    }

    /// The same, to be changed.
    pub(super) fn pods_mut(&mut self, node: &Arc<str>) -> &mut Resources {
        self.stale.insert(node.clone());
        &mut self.on_nodes.entry(node.clone()).or_default().pods
    }

    /// The endpoints of these were made anew.
    pub(super) fn moved<'a>(&mut self, services: impl Iterator<Item = &'a NsName>) {
        self.moved.extend(services.cloned().map(Consumer::Service));
    }

    /// What becomes of this was made anew.
    pub(super) fn moved_one(&mut self, service: &Consumer) {
        self.moved.insert(service.clone());
    }

    /// A pod was made anew.
    pub(super) fn pod(&mut self, before: &PodFacts, now: &PodFacts) {
        self.moved(before.services.iter().chain(&now.services));
        // First what is new, so that what stays is not taken away for a moment.
        for (facts, present) in [(now, true), (before, false)] {
            if facts.policies.is_empty()
                && facts.egress.is_empty()
                && facts.faults.is_empty()
                && facts.identity.is_none()
            {
                continue;
            }
            self.stale.insert(facts.node.clone());
            let on_node = self.on_nodes.entry(facts.node.clone()).or_default();
            let change = if present {
                Counted::add
            } else {
                Counted::remove
            };
            facts
                .policies
                .iter()
                .for_each(|policy| change(&mut on_node.policies, policy));
            facts
                .egress
                .iter()
                .for_each(|policy| change(&mut on_node.egress, policy));
            facts
                .faults
                .iter()
                .for_each(|fault| change(&mut on_node.faults, fault));
            let change = if present {
                Counted::add
            } else {
                Counted::remove
            };
            if let Some(identity) = &facts.identity {
                change(&mut on_node.identities, identity);
            }
        }
    }

    /// Make anew what may differ since these targets were made.
    pub(super) fn update(&mut self, world: &World, facts: &mut Facts, done: &BTreeSet<Target>) {
        for node in std::mem::take(&mut self.stale) {
            self.update_node(node);
        }
        let mut touched = facts.take_touched();
        for service in std::mem::take(&mut self.moved) {
            touched.extend(self.serving.get(&service).into_iter().flatten().cloned());
        }
        let mut all = false;
        for target in done {
            match target {
                Target::Pod(pod) => {
                    let consumer = Consumer::Pod(pod.clone());
                    touched.extend(facts.used_by(&consumer).cloned());
                }
                // Whom a route concerns, the facts say.
                Target::Mesh | Target::Endpoint(..) | Target::Service(_) | Target::Route(_) => {}
                Target::ServiceEntry(_) => {}
                Target::PeerAuthentication(_) | Target::EgressPolicy(_) => {}
                Target::Gateway(_)
                | Target::AuthorizationPolicy(_)
                | Target::TrafficPolicy(_)
                | Target::BackendTlsPolicy(_)
                | Target::FaultPolicy(_)
                | Target::XBackendTrafficPolicy(_) => all = true,
            }
        }
        if all {
            touched.extend(self.waypoints.keys().cloned());
            let gateways = world.cache.gateways.iter();
            touched.extend(gateways.map(|gateway| gateway.meta.name.clone()));
            touched.insert(world.ingresses.gateway().clone());
        }
        for name in touched {
            self.update_state(world, facts, &name);
            self.update_waypoint(world, facts, name);
        }
    }

    fn update_node(&mut self, node: Arc<str>) {
        let Some(on_node) = self.on_nodes.get(&node) else {
            return;
        };
        let OnNode {
            pods,
            policies,
            egress,
            faults,
            identities,
        } = on_node;
        let (policies, egress) = (&policies.present, &egress.present);
        let (faults, identities) = (&faults.present, &identities.present);
        let named = [policies, egress, faults].iter().any(|set| !set.is_empty());
        if pods.is_empty() && !named && identities.is_empty() {
            self.nodes.remove(&node);
            self.on_nodes.remove(&node);
            return;
        }
        let same = |known: &Arc<NodeView>| {
            known.pods.ptr_eq(pods)
                && known.policies.ptr_eq(policies)
                && known.egress.ptr_eq(egress)
                && known.faults.ptr_eq(faults)
                && known.identities.ptr_eq(identities)
        };
        if !self.nodes.get(&node).is_some_and(same) {
            let view = NodeView {
                pods: pods.clone(),
                policies: policies.clone(),
                egress: egress.clone(),
                faults: faults.clone(),
                identities: identities.clone(),
            };
            self.nodes.insert(node, Arc::new(view));
        }
    }

    fn update_state(&mut self, world: &World, facts: &Facts, name: &NsName) {
        let none = BTreeMap::new();
        let attached = facts.attached.counts(name).unwrap_or(&none);
        let state = state(world, name, attached);
        let Some(state) = state else {
            self.gateways.remove(name);
            return;
        };
        if self.gateways.get(name).map(|known| &**known) != Some(&state) {
            self.gateways.insert(name.clone(), Arc::new(state));
        }
    }

    fn update_waypoint(&mut self, world: &World, facts: &Facts, name: NsName) {
        let known = self.waypoints.get(&name).cloned();
        if !is_told(world, &name) {
            self.waypoints.remove(&name);
            self.serve(&name, known.as_deref(), &Scope::default());
            return;
        }
        let scope = Scope::of(world, facts, &name);
        if known.as_deref() != Some(&scope) {
            self.serve(&name, known.as_deref(), &scope);
            self.waypoints.insert(name, Arc::new(scope));
        }
    }

    /// Waypoints and gateways that lead to what each BackendTLSPolicy is for.
    pub(super) fn ancestors(&self, world: &World) -> BTreeMap<NsName, BTreeSet<NsName>> {
        let leading = |service| self.serving.get(&service).into_iter().flatten().cloned();
        let policies = world.cache.backend_tls.iter();
        let one = policies.map(|policy| {
            let gateways = backend_tls::named(policy).flat_map(leading);
            (policy.meta.name.clone(), gateways.collect())
        });
        one.collect()
    }

    /// Find a waypoint by what is in its scope now.
    fn serve(&mut self, waypoint: &NsName, before: Option<&Scope>, now: &Scope) {
        for service in before.into_iter().flat_map(|scope| &scope.services) {
            if let Some(waypoints) = self.serving.get_mut(service) {
                waypoints.remove(waypoint);
                if waypoints.is_empty() {
                    self.serving.remove(service);
                }
            }
        }
        for service in &now.services {
            self.serving
                .entry(service.clone())
                .or_default()
                .insert(waypoint.clone());
        }
    }
}

/// Whether instances of a waypoint or gateway are told anything.
fn is_told(world: &World, name: &NsName) -> bool {
    if ingresses::is_gateway(world, name) {
        return ingresses::any(world);
    }
    let gateway = world.cache.gateways.get(name);
    gateway.is_some_and(|gateway| gateway.spec.is_ours())
}

/// What became of a gateway's listeners; none of what is no gateway.
fn state(world: &World, name: &NsName, attached: &BTreeMap<String, u32>) -> Option<GatewayState> {
    if ingresses::is_gateway(world, name) {
        return ingresses::any(world).then(|| ingresses::state(world, attached));
    }
    let gateway = world.cache.gateways.get(name)?;
    let takes_connections = gateway.spec.listeners.is_some();
    takes_connections.then(|| ingress::state(world, gateway, attached))
}
