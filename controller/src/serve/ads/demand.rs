//! What a node's proxy gets that asks for what it needs by name: that, and what it cannot do without.
//!
//! * What it names: a workload, or a service with all its endpoints.
//! * Its own pods' workloads, and the services that they are endpoints of.
//! * The waypoints of all these.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::engine::{NodeView, Resources, Served, Snapshot};
use crate::translate::Type;

/// What belongs to some names, and what would change that.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Names that were looked up, found or not.
    keys: HashSet<Arc<str>>,
    /// Services whose endpoints belong to it.
    services: HashSet<Arc<str>>,
    found: Resources,
}

/// A resource by any of its names, and whether it is a service.
pub(super) fn find(snapshot: &Snapshot, view: &Resources, name: &str) -> Option<Arc<Served>> {
    let named = view.get(name);
    let aliased = || view.get(snapshot.aliases.get(name)?);
    named.or_else(aliased).cloned()
}

impl Demand {
    /// What belongs to these names alone.
    pub(super) fn of<'a>(snapshot: &Snapshot, names: impl Iterator<Item = &'a str>) -> Self {
        let mut demand = Self::default();
        let Some(all) = snapshot.resources.get(&Type::Address) else {
            return demand;
        };
        for name in names {
            demand.add(snapshot, all, &name.into());
        }
        demand
    }

    /// What belongs to these names and to a node's own pods.
    pub(super) fn of_node(
        snapshot: &Snapshot,
        node: Option<&NodeView>,
        names: &BTreeSet<String>,
    ) -> Self {
        let mut demand = Self::of(snapshot, names.iter().map(String::as_str));
        let Some(all) = snapshot.resources.get(&Type::Address) else {
            return demand;
        };
        for uid in node.into_iter().flat_map(|node| node.pods.keys()) {
            demand.keys.insert(uid.clone());
            let Some(pod) = all.get(uid) else { continue };
            demand.keep(pod);
            demand.add_waypoint(snapshot, all, pod);
            for service in &pod.services {
                demand.keys.insert(service.clone());
                let Some(service) = all.get(service) else {
                    continue;
                };
                demand.keep(service);
                demand.add_waypoint(snapshot, all, service);
            }
        }
        demand
    }

    /// All of it.
    pub(super) fn found(&self) -> &Resources {
        &self.found
    }

    /// The same, when nothing else counts.
    pub(super) fn into_found(self) -> Resources {
        self.found
    }

    /// Whether a resource that is new or different has to do with it.
    pub(super) fn concerns(&self, served: &Served) -> bool {
        self.keys.contains(&served.name)
            || self.found.contains_key(&served.name)
            || served.aliases.iter().any(|alias| self.keys.contains(alias))
            || served
                .services
                .iter()
                .any(|service| self.services.contains(service))
    }

    /// A name that is asked for, with its waypoint.
    fn add(&mut self, snapshot: &Snapshot, all: &Resources, name: &Arc<str>) {
        if let Some(served) = self.add_deep(snapshot, all, name) {
            self.add_waypoint(snapshot, all, &served);
        }
    }

    fn add_waypoint(&mut self, snapshot: &Snapshot, all: &Resources, served: &Served) {
        if let Some(waypoint) = &served.waypoint {
            self.add_deep(snapshot, all, waypoint);
        }
    }

    /// A workload, or a service with its endpoints.
    fn add_deep(
        &mut self,
        snapshot: &Snapshot,
        all: &Resources,
        name: &Arc<str>,
    ) -> Option<Arc<Served>> {
        self.keys.insert(name.clone());
        let served = find(snapshot, all, name)?;
        self.keep(&served);
        if !self.services.contains(&served.name)
            && let Some(endpoints) = snapshot.endpoints.get(&served.name)
        {
            let endpoints = endpoints.iter().filter_map(|uid| all.get(uid));
            endpoints.for_each(|endpoint| self.keep(endpoint));
        }
        // A service without endpoints may get some. No workload is ever an endpoint of a workload.
        self.services.insert(served.name.clone());
        Some(served)
    }

    fn keep(&mut self, served: &Arc<Served>) {
        self.found.insert(served.name.clone(), served.clone());
    }
}
