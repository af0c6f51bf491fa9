//! The resources that were made, by what they were made from.
//!
//! Invariants: a resource stays as long as anything makes it; one that is made again unchanged is the same object, so that
//! nobody is sent it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;

use super::facts::Facts;
use super::snapshot::{Resources, Served, Snapshot};
use super::target::Target;
use super::{NodeView, Scope};
use crate::model::NsName;
use crate::translate::{Resource, Type};
use crate::world::{Settings, World};

/// Where a resource belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shelf {
    /// Among those of its type.
    Type(Type),
    /// In place of a policy, for a waypoint that the policy is about.
    Waived,
    /// Told to the agent of a node.
    Node(Arc<str>),
}

/// The resources that were made.
#[derive(Debug, Default)]
pub(super) struct Store {
    made: HashMap<Target, Vec<(Shelf, Arc<str>)>>,
    /// How many targets make a resource that more than one can make.
    makers: HashMap<(Shelf, Arc<str>), usize>,
    resources: BTreeMap<Type, Resources>,
    waived: Resources,
    aliases: OrdMap<Arc<str>, Arc<str>>,
    pods: HashMap<Arc<str>, Resources>,
    nodes: OrdMap<Arc<str>, Arc<NodeView>>,
    waypoints: OrdMap<NsName, Arc<Scope>>,
    generation: u64,
    /// Nodes whose view may differ.
    stale: BTreeSet<Arc<str>>,
    /// Pods' services before the current refresh and after it.
    pub(super) moved: BTreeSet<NsName>,
}

impl Store {
    /// A target makes these, and nothing else any more.
    pub(super) fn set(&mut self, target: &Target, made: Vec<(Shelf, Resource)>) {
        let names: Vec<_> = made
            .iter()
            .map(|(shelf, r)| (shelf.clone(), r.name.clone()))
            .collect();
        for (shelf, resource) in made {
            let key = (shelf, resource.name.clone());
            *self.makers.entry(key.clone()).or_default() += 1;
            self.put(&key.0, resource);
        }
        let before = if names.is_empty() {
            self.made.remove(target)
        } else {
            self.made.insert(target.clone(), names)
        };
        for key in before.unwrap_or_default() {
            let makers = self.makers.entry(key.clone()).or_default();
            *makers = makers.saturating_sub(1);
            if *makers == 0 {
                self.makers.remove(&key);
                self.take(&key.0, &key.1);
            }
        }
    }

    fn shelf(&mut self, shelf: &Shelf) -> &mut Resources {
        match shelf {
            Shelf::Type(kind) => self.resources.entry(*kind).or_default(),
            Shelf::Waived => &mut self.waived,
            Shelf::Node(node) => self.pods.entry(node.clone()).or_default(),
        }
    }

    fn put(&mut self, shelf: &Shelf, resource: Resource) {
        let served = Served::new(resource);
        let known = self.shelf(shelf).get(&served.name).cloned();
        if known.as_deref() == Some(&served) {
            return;
        }
        for alias in known.iter().flat_map(|known| &known.aliases) {
            if self.aliases.get(alias) == Some(&served.name) {
                self.aliases.remove(alias);
            }
        }
        for alias in &served.aliases {
            self.aliases.insert(alias.clone(), served.name.clone());
        }
        self.shelf(shelf)
            .insert(served.name.clone(), Arc::new(served));
    }

    fn take(&mut self, shelf: &Shelf, name: &Arc<str>) {
        if let Some(served) = self.shelf(shelf).remove(name) {
            for alias in &served.aliases {
                if self.aliases.get(alias) == Some(name) {
                    self.aliases.remove(alias);
                }
            }
        }
    }

    /// The view of a node must be made anew.
    pub(super) fn touch_node(&mut self, node: &Arc<str>) {
        self.stale.insert(node.clone());
    }

    /// Bring what concerns nodes and waypoints up to date.
    pub(super) fn update_views(
        &mut self,
        world: &World,
        facts: &mut Facts,
        done: &BTreeSet<Target>,
    ) {
        for node in std::mem::take(&mut self.stale) {
            let view = self.node_view(world, facts, &node);
            if view == NodeView::default() {
                self.nodes.remove(&node);
                self.pods.remove(&node);
            } else if self.nodes.get(&node).is_none_or(|known| **known != view) {
                self.nodes.insert(node, Arc::new(view));
            }
        }
        let moved = std::mem::take(&mut self.moved);
        let pods_only = done.iter().all(|target| matches!(target, Target::Pod(_)));
        let waypoints: BTreeSet<NsName> = world
            .cache
            .gateways
            .iter()
            .filter(|gateway| gateway.spec.waypoint.is_some())
            .map(|gateway| gateway.meta.name.clone())
            .collect();
        let gone: Vec<_> = self
            .waypoints
            .keys()
            .filter(|name| !waypoints.contains(*name))
            .cloned()
            .collect();
        gone.iter()
            .for_each(|name| drop(self.waypoints.remove(name)));
        for name in waypoints {
            let known = self.waypoints.get(&name);
            let untouched = |scope: &Arc<Scope>| {
                let consumes = |target: &Target| match target {
                    Target::Pod(pod) => scope
                        .consumers
                        .contains(&crate::world::Consumer::Pod(pod.clone())),
                    _ => true,
                };
                let gained = facts
                    .uses
                    .get(&name)
                    .is_some_and(|uses| *uses != scope.consumers);
                pods_only
                    && !gained
                    && scope.services.is_disjoint(&moved)
                    && !done.iter().any(consumes)
            };
            if known.is_some_and(untouched) {
                continue;
            }
            let scope = Scope::of(world, facts, &name);
            if known.is_none_or(|known| **known != scope) {
                self.waypoints.insert(name, Arc::new(scope));
            }
        }
    }

    fn node_view(&self, world: &World, facts: &Facts, node: &Arc<str>) -> NodeView {
        let mut view = NodeView {
            pods: self.pods.get(node).cloned().unwrap_or_default(),
            ..NodeView::default()
        };
        let pods = world
            .index
            .pods_on(node)
            .filter_map(|pod| facts.pods.get(pod));
        for pod in pods {
            view.policies.extend(pod.policies.iter().cloned());
            view.identities.extend(pod.identity.clone());
        }
        view
    }

    /// What is served now.
    pub(super) fn snapshot(&mut self, settings: &Settings) -> Snapshot {
        self.generation += 1;
        Snapshot {
            generation: self.generation,
            resources: self.resources.clone(),
            waived: self.waived.clone(),
            aliases: self.aliases.clone(),
            nodes: self.nodes.clone(),
            waypoints: self.waypoints.clone(),
            certificate_ttl: settings.certificate_ttl(),
        }
    }
}
