//! Names that are looked up: by whom each is held, what it was found to be, and what that leads to.
//!
//! Invariant: once [`Lookups::next`] has nothing more, every name that is held was looked up at the same moment, and what
//! it leads to is held too; a name that nobody holds is forgotten.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::engine::Served;

/// Why a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The proxy named it: it, its endpoints, its waypoint.
    Name,
    /// One of the node's own pods: it, its services, its waypoint.
    Pod,
    /// A service of such a pod: it and its waypoint.
    Service,
    /// The waypoint of any of these: it and its endpoints.
    Waypoint,
}

/// What an update does.
#[derive(Debug)]
pub(super) enum Effect {
    /// This resource may have come to belong, or to belong no more.
    Touched(Arc<str>),
    /// The endpoints of this service belong.
    Opened(Arc<str>),
    /// They do not because of this name any more.
    Closed(Arc<str>),
}

#[derive(Debug, Default)]
pub(super) struct Lookups {
    known: HashMap<Arc<str>, Lookup>,
    /// To be looked up, or to be looked at because of who holds it.
    stale: BTreeSet<Arc<str>>,
}

/// How often a name is held for each reason, and what was made of that.
#[derive(Debug, Default)]
struct Lookup {
    holders: [u32; 4],
    found: Option<Arc<Served>>,
    /// With its endpoints.
    open: bool,
    /// What it leads to.
    held: Vec<(Arc<str>, Holder)>,
}

impl Lookup {
    fn has(&self, holder: Holder) -> bool {
        self.holders[holder as usize] > 0
    }

    /// What this leads to because of who holds the name.
    fn leads_to(&self, served: Option<&Served>) -> Vec<(Arc<str>, Holder)> {
        let mut held = Vec::new();
        let Some(served) = served else { return held };
        if self.has(Holder::Pod) {
            let services = served.services.iter().cloned();
            held.extend(services.map(|service| (service, Holder::Service)));
        }
        let with_waypoint = [Holder::Name, Holder::Pod, Holder::Service];
        if with_waypoint.into_iter().any(|holder| self.has(holder)) {
            let waypoint = served.waypoint.clone();
            held.extend(waypoint.map(|waypoint| (waypoint, Holder::Waypoint)));
        }
        held
    }
}

impl Lookups {
    /// A name is needed, once more.
    pub(super) fn hold(&mut self, name: &Arc<str>, holder: Holder) {
        let lookup = self.known.entry(name.clone()).or_default();
        lookup.holders[holder as usize] += 1;
        self.stale.insert(name.clone());
    }

    /// A name is needed once less.
    pub(super) fn release(&mut self, name: &str, holder: Holder) {
        if let Some(lookup) = self.known.get_mut(name) {
            let count = &mut lookup.holders[holder as usize];
            *count = count.saturating_sub(1);
            self.stale.insert(name.into());
        }
    }

    /// What has this name may have changed. Whether anybody cares.
    pub(super) fn again(&mut self, name: &str) -> bool {
        let known = self.known.get_key_value(name);
        known.is_some_and(|(name, _)| {
            self.stale.insert(name.clone());
            true
        })
    }

    /// The next name to look up.
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        self.stale.pop_first()
    }

    /// This was found by the name, now.
    pub(super) fn update(&mut self, name: &Arc<str>, found: Option<Arc<Served>>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(lookup) = self.known.get_mut(name) else {
            return effects;
        };
        let wanted = lookup.holders.iter().any(|count| *count > 0);
        let found = found.filter(|_| wanted);
        let open = lookup.has(Holder::Name) || lookup.has(Holder::Waypoint);
        let held = lookup.leads_to(found.as_deref());

        let of = |served: &Option<Arc<Served>>| served.as_ref().map(|served| served.name.clone());
        let (before, now) = (of(&lookup.found), of(&found));
        let (was_open, is_open) = (
            before.clone().filter(|_| lookup.open),
            now.clone().filter(|_| open),
        );
        if was_open != is_open {
            effects.extend(is_open.map(Effect::Opened));
            effects.extend(was_open.map(Effect::Closed));
        }
        let touched = before.into_iter().chain(now);
        effects.extend(touched.map(Effect::Touched));
        let before = std::mem::replace(&mut lookup.held, held.clone());
        (lookup.found, lookup.open) = (found, open);
        if !wanted {
            self.known.remove(name);
        }
        if before != held {
            held.iter()
                .for_each(|(name, holder)| self.hold(name, *holder));
            before
                .iter()
                .for_each(|(name, holder)| self.release(name, *holder));
        }
        effects
    }

    /// Whether what was found by a name is this resource.
    pub(super) fn is(&self, name: &str, resource: &str) -> bool {
        let found = self
            .known
            .get(name)
            .and_then(|lookup| lookup.found.as_ref());
        found.is_some_and(|served| *served.name == *resource)
    }
}
