//! The resources that were made, by what they were made from.
//!
//! Invariants: a resource stays as long as anything makes it; one that is made again unchanged is the same object, so that
//! nobody is sent it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::delta::Deltas;
use super::facts::Facts;
use super::snapshot::{Resources, Served, Snapshot};
use super::target::Target;
use super::views::Views;
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

/// A resource by its shelf and its name there.
type Name = (Shelf, Arc<str>);

/// The resources that were made.
#[derive(Debug, Default)]
pub(super) struct Store {
    made: HashMap<Target, Box<[Name]>>,
    /// How many targets make a resource, where it is more than one.
    makers: HashMap<Name, usize>,
    resources: BTreeMap<Type, Resources>,
    stamps: BTreeMap<Type, u64>,
    waived: Resources,
    aliases: OrdMap<Arc<str>, Arc<str>>,
    endpoints: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
    external: OrdSet<Arc<str>>,
    pub(super) views: Views,
    generation: u64,
}

impl Store {
    /// A target makes these, and nothing else any more.
    pub(super) fn set(&mut self, target: &Target, made: Vec<(Shelf, Resource)>) {
        let mut names = Vec::with_capacity(made.len());
        for (shelf, resource) in made {
            let key = (shelf, resource.name.clone());
            let known = self.get(&key.0, &key.1).is_some();
            self.put(&key.0, resource);
            if known {
                *self.makers.entry(key.clone()).or_insert(1) += 1;
            }
            names.push(key);
        }
        let before = if names.is_empty() {
            self.made.remove(target)
        } else {
            self.made.insert(target.clone(), names.into())
        };
        for key in before.unwrap_or_default() {
            match self.makers.get_mut(&key) {
                Some(makers) if *makers > 2 => *makers -= 1,
                Some(_) => drop(self.makers.remove(&key)),
                None => self.take(&key.0, &key.1),
            }
        }
    }

    fn get(&self, shelf: &Shelf, name: &str) -> Option<&Arc<Served>> {
        match shelf {
            Shelf::Type(kind) => self.resources.get(kind)?.get(name),
            Shelf::Waived => self.waived.get(name),
            Shelf::Node(node) => self.views.pods(node)?.get(name),
        }
    }

    /// The shelf, to be changed.
    fn shelf(&mut self, shelf: &Shelf) -> &mut Resources {
        match shelf {
            Shelf::Type(kind) => {
                self.stamps.insert(*kind, self.generation + 1);
                self.resources.entry(*kind).or_default()
            }
            Shelf::Waived => {
                self.stamps.insert(Type::Authorization, self.generation + 1);
                &mut self.waived
            }
            Shelf::Node(node) => self.views.pods_mut(node),
        }
    }

    fn put(&mut self, shelf: &Shelf, resource: Resource) {
        let served = Served::new(resource);
        let known = self.get(shelf, &served.name).cloned();
        if known.as_deref() == Some(&served) {
            return;
        }
        if let Some(known) = &known {
            self.unlink(known);
        }
        for alias in &served.aliases {
            self.aliases.insert(alias.clone(), served.name.clone());
        }
        if served.external {
            self.external.insert(served.name.clone());
        }
        for service in &served.services {
            self.endpoints
                .entry(service.clone())
                .or_default()
                .insert(served.name.clone());
        }
        self.shelf(shelf)
            .insert(served.name.clone(), Arc::new(served));
    }

    fn take(&mut self, shelf: &Shelf, name: &Arc<str>) {
        if let Some(served) = self.shelf(shelf).remove(name) {
            self.unlink(&served);
        }
    }

    /// It is not found by other things than its name any more.
    fn unlink(&mut self, served: &Served) {
        for alias in &served.aliases {
            if self.aliases.get(alias) == Some(&served.name) {
                self.aliases.remove(alias);
            }
        }
        if served.external {
            self.external.remove(&served.name);
        }
        for service in &served.services {
            if let Some(endpoints) = self.endpoints.get_mut(service) {
                endpoints.remove(&served.name);
                if endpoints.is_empty() {
                    self.endpoints.remove(service);
                }
            }
        }
    }

    /// Bring what concerns nodes and waypoints up to date.
    pub(super) fn update_views(
        &mut self,
        world: &World,
        facts: &mut Facts,
        done: &BTreeSet<Target>,
    ) {
        self.views.update(world, facts, done);
    }

    /// What is served now.
    pub(super) fn snapshot(&mut self, settings: &Settings) -> Snapshot {
        self.generation += 1;
        Snapshot {
            generation: self.generation,
            resources: self.resources.clone(),
            stamps: self.stamps.clone(),
            deltas: Deltas::default(),
            waived: self.waived.clone(),
            aliases: self.aliases.clone(),
            endpoints: self.endpoints.clone(),
            external: self.external.clone(),
            nodes: self.views.nodes.clone(),
            waypoints: self.views.waypoints.clone(),
            gateways: self.views.gateways.clone(),
            certificate_ttl: settings.certificate_ttl(),
        }
    }
}
