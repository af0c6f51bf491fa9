//! What one stream is subscribed to of one type, and what its client has of that.
//!
//! Invariants: `sent` is what the client has when it has taken all responses; whoever is shown all of a type shares what
//! differs between two moments with all others; what is held is neither removed nor replaced.

use std::collections::BTreeSet;
use std::sync::Arc;

use culvert_proto::ads::DeltaDiscoveryRequest;

use super::demand::{Demand, find};
use super::view::{self, Basis};
use crate::engine::{Client, Delta, Resources, Served, Snapshot};
use crate::translate::Type;

const WILDCARD: &str = "*";

/// A subscription to one type.
#[derive(Debug)]
pub(super) struct Subscription {
    client: Client,
    kind: Type,
    /// To all that concerns the client.
    wildcard: bool,
    /// To these, whatever names the client knows them by.
    names: BTreeSet<String>,
    /// What the client has.
    sent: Resources,
    /// What it has from an earlier stream in another version than there is here, or that there is not here, while this
    /// may be the older state of the two.
    held: Resources,
    /// What `sent` was made from.
    basis: Basis,
    /// All of the type at that moment, if that is what the client's view is a part of.
    seen: Resources,
    /// What belongs to the names, where a proxy asks for what it needs.
    demand: Option<Demand>,
}

impl Subscription {
    /// The first request of a type. It may say what the client has from an earlier stream, of which nothing is taken away
    /// while the snapshot may lag behind that.
    pub(super) fn open(
        snapshot: &Snapshot,
        lags: bool,
        client: &Client,
        kind: Type,
        request: DeltaDiscoveryRequest,
    ) -> (Self, Arc<Delta>) {
        let mut new = Self {
            client: client.clone(),
            kind,
            wildcard: request.resource_names_subscribe.is_empty(),
            names: BTreeSet::new(),
            sent: Resources::new(),
            held: Resources::new(),
            basis: Basis::default(),
            seen: Resources::new(),
            demand: None,
        };
        let asked = new.note(&request);
        if asked.is_empty() && !new.wildcard {
            // Istio's client names what it goes on asking for only here.
            let known = request.initial_resource_versions.keys();
            new.names.extend(known.cloned());
        }
        let wanted = new.wanted(snapshot);
        let mut gone = new.unknown(snapshot, &asked);
        for (name, version) in request.initial_resource_versions {
            match wanted.get(name.as_str()) {
                Some(served) if *served.version == *version => {
                    new.sent.insert(served.name.clone(), served.clone());
                }
                _ if lags => {
                    let held = Arc::new(Served::elsewhere(&name, &version));
                    new.held.insert(held.name.clone(), held);
                }
                None if gone.contains(&name) => {}
                None => gone.push(name),
                Some(_) => {}
            }
        }
        gone.retain(|name| !new.held.contains_key(name.as_str()));
        new.sent = new.sent.union(new.held.clone());
        let wanted = new.but_held(wanted);
        let delta = if gone.is_empty() {
            new.advance(snapshot, wanted)
        } else {
            let mut delta = Delta::between(&new.sent, &wanted);
            delta.removed.extend(gone);
            new.settle(snapshot, wanted);
            Arc::new(delta)
        };
        (new, delta)
    }

    /// Subscribe and unsubscribe. What is asked for by name is answered even if it was sent before; what is no longer
    /// subscribed to is taken back. Nothing else is brought up to date: that is done in order, with the other types.
    pub(super) fn change(&mut self, snapshot: &Snapshot, request: &DeltaDiscoveryRequest) -> Delta {
        let asked = self.note(request);
        let mut delta = Delta::default();
        if asked.is_empty() && request.resource_names_unsubscribe.is_empty() {
            return delta;
        }
        delta.removed = self.unknown(snapshot, &asked);
        delta
            .removed
            .retain(|name| !self.held.contains_key(name.as_str()));
        for name in &delta.removed {
            self.sent.remove(name.as_str());
        }
        let answers = self.asked(snapshot, &asked);
        for served in answers.values() {
            if self.held.contains_key(&served.name) {
                continue;
            }
            self.sent.insert(served.name.clone(), served.clone());
            delta.resources.push(served.clone());
        }
        if !request.resource_names_unsubscribe.is_empty() {
            let wanted = self.wanted(snapshot);
            for name in Delta::between(&self.sent, &wanted).removed {
                self.sent.remove(name.as_str());
                delta.removed.push(name);
            }
        }
        // What the client has is of no moment any more.
        self.forget_moment();
        delta
    }

    /// Whether anything is held.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What there is here is no older than what the client has.
    pub(super) fn release(&mut self) {
        if self.holds() {
            self.held = Resources::new();
            self.forget_moment();
        }
    }

    fn forget_moment(&mut self) {
        self.basis = Basis::none();
        self.seen = Resources::new();
    }

    /// What differs between what the client has and what it ought to have by this snapshot.
    pub(super) fn push(&mut self, snapshot: &Snapshot) -> Option<Arc<Delta>> {
        let basis = view::basis(snapshot, &self.client, self.kind);
        if basis == self.basis {
            return None;
        }
        let wanted = self.wanted(snapshot);
        let delta = self.advance(snapshot, wanted);
        (!delta.is_empty()).then_some(delta)
    }

    /// Whether a node's proxy asks for what it needs.
    fn is_demand(&self) -> bool {
        !self.wildcard && self.kind == Type::Address && matches!(self.client, Client::Node(_))
    }

    /// What belongs to the names, if a node's proxy asks for what it needs.
    fn demand(&mut self) -> Option<&mut Demand> {
        if !self.is_demand() {
            self.demand = None;
            return None;
        }
        let names = &self.names;
        Some(self.demand.get_or_insert_with(|| {
            let mut demand = Demand::of_node();
            names.iter().for_each(|name| demand.want(name.clone()));
            demand
        }))
    }

    /// Note what is subscribed to from now on. Gives back the names that were asked for.
    fn note(&mut self, request: &DeltaDiscoveryRequest) -> Vec<String> {
        let mut asked = Vec::new();
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                self.wildcard = true;
            } else {
                self.names.insert(name.clone());
                asked.push(name.clone());
                if let Some(demand) = &mut self.demand {
                    demand.want(name.clone());
                }
            }
        }
        for name in &request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            }
            self.names.remove(name);
            self.held.remove(name.as_str());
            if let Some(demand) = &mut self.demand {
                demand.give_back(name);
            }
        }
        asked.retain(|name| self.names.contains(name));
        asked
    }

    /// Names that nothing has.
    fn unknown(&self, snapshot: &Snapshot, asked: &[String]) -> Vec<String> {
        if asked.is_empty() {
            return Vec::new();
        }
        let view = view::of(snapshot, &self.client, self.kind);
        let unknown = |name: &&String| find(snapshot, &view, name).is_none();
        asked.iter().filter(unknown).cloned().collect()
    }

    /// What belongs to these names.
    fn asked(&self, snapshot: &Snapshot, asked: &[String]) -> Resources {
        if self.is_demand() {
            return Demand::of(snapshot, asked.iter().cloned());
        }
        if asked.is_empty() {
            return Resources::new();
        }
        let view = view::of(snapshot, &self.client, self.kind);
        let found = asked.iter().filter_map(|name| find(snapshot, &view, name));
        found.map(|served| (served.name.clone(), served)).collect()
    }

    /// What the client ought to have.
    fn wanted(&mut self, snapshot: &Snapshot) -> Resources {
        let there = self.there(snapshot);
        self.but_held(there)
    }

    /// With what is held as the client has it. What was found to be the same is held no longer.
    fn but_held(&mut self, mut wanted: Resources) -> Resources {
        if !self.holds() {
            return wanted;
        }
        let held = std::mem::take(&mut self.held).into_iter();
        let differs = |(name, held): &(Arc<str>, Arc<Served>)| wanted.get(name) != Some(held);
        self.held = held.filter(differs).collect();
        for (name, held) in &self.held {
            wanted.insert(name.clone(), held.clone());
        }
        wanted
    }

    /// What there is here for the client.
    fn there(&mut self, snapshot: &Snapshot) -> Resources {
        let node = match &self.client {
            Client::Node(node) => snapshot.nodes.get(node).map(|node| &**node),
            Client::Waypoint(_) => None,
        };
        if let Some(demand) = self.demand() {
            return demand.follow(snapshot, node).clone();
        }
        let view = view::of(snapshot, &self.client, self.kind);
        if self.wildcard {
            return view;
        }
        let names = self.names.iter();
        let found = names.filter_map(|name| find(snapshot, &view, name));
        found.map(|served| (served.name.clone(), served)).collect()
    }

    /// Go on to what is wanted; what has to be sent for it.
    fn advance(&mut self, snapshot: &Snapshot, wanted: Resources) -> Arc<Delta> {
        let whole = self.wildcard && view::is_whole(&self.client, self.kind);
        let delta = if whole && self.sent.ptr_eq(&self.seen) {
            snapshot.since(self.kind, self.basis.stamp, &self.seen)
        } else {
            Arc::new(Delta::between(&self.sent, &wanted))
        };
        self.settle(snapshot, wanted);
        delta
    }

    fn settle(&mut self, snapshot: &Snapshot, wanted: Resources) {
        self.basis = view::basis(snapshot, &self.client, self.kind);
        self.sent = wanted;
        if view::is_whole(&self.client, self.kind) {
            self.seen = snapshot.all(self.kind);
        }
    }
}
