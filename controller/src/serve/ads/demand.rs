//! What a node's proxy gets that asks for what it needs by name: that, and what it cannot do without.
//!
//! * What it names: a workload, or a service with all its endpoints.
//! * Its own pods' workloads, and the services that they are endpoints of.
//! * Services outside of the cluster: by their names nobody could tell that they are the mesh's.
//! * The waypoints of all these.
//!
//! Invariant: after [`Demand::follow`] what was found is what a new one would find, and only what changed was looked at.

mod lookups;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdSet;
use imbl::ordmap::DiffItem;

use self::lookups::{Effect, Holder, Lookups};
use crate::engine::{NodeView, Resources, Served, Snapshot};
use crate::translate::Type;

/// What belongs to some names and to a node's own pods, at one moment.
#[derive(Debug, Default)]
pub(super) struct Demand {
    names: BTreeSet<String>,
    /// Whether services outside of the cluster belong to it, and which there were.
    external: Option<OrdSet<Arc<str>>>,
    /// The pods of the node, as they were last looked at.
    pods: Resources,
    /// All there was of the type, and of which moment; nothing before the first.
    seen: Resources,
    stamp: Option<u64>,
    lookups: Lookups,
    /// Services whose endpoints belong to it, and by how many names.
    services: HashMap<Arc<str>, u32>,
    found: Resources,
}

/// A resource by any of its names.
pub(super) fn find(snapshot: &Snapshot, view: &Resources, name: &str) -> Option<Arc<Served>> {
    let named = view.get(name);
    let aliased = || view.get(snapshot.aliases.get(name)?);
    named.or_else(aliased).cloned()
}

impl Demand {
    /// What belongs to a node's proxy, whatever it names.
    pub(super) fn of_node() -> Self {
        Self {
            external: Some(OrdSet::new()),
            ..Self::default()
        }
    }

    /// What belongs to these names alone.
    pub(super) fn of(snapshot: &Snapshot, names: impl IntoIterator<Item = String>) -> Resources {
        let mut demand = Self::default();
        for name in names {
            demand.want(name);
        }
        demand.follow(snapshot, None).clone()
    }

    /// Also what has this name, from the next moment on.
    pub(super) fn want(&mut self, name: String) {
        if !self.names.contains(&name) {
            self.lookups.hold(&name.as_str().into(), Holder::Name);
            self.names.insert(name);
        }
    }

    /// Not because of this name any more.
    pub(super) fn give_back(&mut self, name: &str) {
        if self.names.remove(name) {
            self.lookups.release(name, Holder::Name);
        }
    }

    /// Goes on to this moment. All that belongs to it then.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, node: Option<&NodeView>) -> &Resources {
        let all = snapshot.all(Type::Address);
        let mut touched = self.changed(snapshot, &all);
        self.follow_pods(node);
        self.follow_external(snapshot);
        while let Some(name) = self.lookups.next() {
            for effect in self.lookups.update(&name, find(snapshot, &all, &name)) {
                match effect {
                    Effect::Touched(name) => drop(touched.insert(name)),
                    Effect::Opened(service) => {
                        let uses = self.services.entry(service.clone()).or_default();
                        *uses += 1;
                        if *uses == 1 {
                            touched.extend(endpoints(snapshot, &service));
                        }
                    }
                    Effect::Closed(service) => {
                        let uses = self.services.get_mut(&service);
                        let left = uses.map_or(0, |uses| {
                            *uses = uses.saturating_sub(1);
                            *uses
                        });
                        if left == 0 {
                            self.services.remove(&service);
                            touched.extend(endpoints(snapshot, &service));
                        }
                    }
                }
            }
        }
        for name in touched {
            match all.get(&name).filter(|served| self.belongs(served)) {
                Some(served) => drop(self.found.insert(name, served.clone())),
                None => drop(self.found.remove(&name)),
            }
        }
        self.seen = all;
        self.stamp = Some(snapshot.stamp(Type::Address));
        &self.found
    }

    /// Looks up again what the changes since the last moment may have to do with. The resources to decide on again.
    fn changed(&mut self, snapshot: &Snapshot, all: &Resources) -> BTreeSet<Arc<str>> {
        let mut touched = BTreeSet::new();
        // At first nothing was looked up, so that nothing can have changed. What shares everything is the same.
        let Some(stamp) = self.stamp.filter(|_| !self.seen.ptr_eq(all)) else {
            return touched;
        };
        let delta = snapshot.since(Type::Address, stamp, &self.seen);
        for served in &delta.resources {
            let mut concerned = self.lookups.again(&served.name);
            for alias in &served.aliases {
                self.lookups.again(alias);
            }
            let open = |service| self.services.contains_key(service);
            concerned |= served.services.iter().any(open);
            if let Some(before) = self.found.get(&served.name) {
                for alias in &before.aliases {
                    self.lookups.again(alias);
                }
                concerned = true;
            }
            if concerned {
                touched.insert(served.name.clone());
            }
        }
        for name in &delta.removed {
            self.lookups.again(name);
            if let Some(before) = self.found.get(name.as_str()) {
                for alias in &before.aliases {
                    self.lookups.again(alias);
                }
                touched.insert(before.name.clone());
            }
        }
        touched
    }

    fn follow_pods(&mut self, node: Option<&NodeView>) {
        let pods = node.map(|node| node.pods.clone()).unwrap_or_default();
        for item in self.pods.diff(&pods) {
            match item {
                DiffItem::Add(uid, _) => self.lookups.hold(uid, Holder::Pod),
                DiffItem::Remove(uid, _) => self.lookups.release(uid, Holder::Pod),
                DiffItem::Update { .. } => {}
            }
        }
        self.pods = pods;
    }

    fn follow_external(&mut self, snapshot: &Snapshot) {
        let Some(before) = &mut self.external else {
            return;
        };
        let before = std::mem::replace(before, snapshot.external.clone());
        for item in before.diff(&snapshot.external) {
            match item {
                imbl::ordset::DiffItem::Add(name) => self.lookups.hold(name, Holder::Name),
                imbl::ordset::DiffItem::Remove(name) => self.lookups.release(name, Holder::Name),
            }
        }
    }

    /// Whether a resource is what something was looked up for, or an endpoint of a service that was.
    fn belongs(&self, served: &Served) -> bool {
        let name = &served.name;
        let mut names = served.aliases.iter().chain([name]);
        names.any(|known| self.lookups.is(known, name))
            || served
                .services
                .iter()
                .any(|service| self.services.contains_key(service))
    }
}

fn endpoints(snapshot: &Snapshot, service: &Arc<str>) -> impl Iterator<Item = Arc<str>> {
    let endpoints = snapshot.endpoints.get(service).cloned();
    endpoints.into_iter().flatten()
}
