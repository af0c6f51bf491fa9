//! Which routes are attached to which listeners of gateways.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Key, NsName};

/// A listener: its Gateway's name, and its own.
pub(crate) type Listener = (NsName, String);

/// Routes by listeners.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    of: BTreeMap<Key, Vec<Listener>>,
    to: BTreeMap<NsName, Gateway>,
}

#[derive(Debug, Default)]
struct Gateway {
    routes: BTreeSet<Key>,
    /// How many routes each listener has.
    counts: BTreeMap<String, u32>,
}

impl Attached {
    /// A route is attached to these listeners, none of them twice, and no others.
    pub(crate) fn set(&mut self, route: &Key, now: Vec<Listener>) {
        for (gateway, listener) in self.of.remove(route).unwrap_or_default() {
            let Some(known) = self.to.get_mut(&gateway) else {
                continue;
            };
            known.routes.remove(route);
            if let Some(count) = known.counts.get_mut(&listener) {
                *count -= 1;
                if *count == 0 {
                    known.counts.remove(&listener);
                }
            }
            if known.counts.is_empty() {
                self.to.remove(&gateway);
            }
        }
        for (gateway, listener) in &now {
            let known = self.to.entry(gateway.clone()).or_default();
            known.routes.insert(route.clone());
            *known.counts.entry(listener.clone()).or_default() += 1;
        }
        if !now.is_empty() {
            self.of.insert(route.clone(), now);
        }
    }

    /// Listeners of a route.
    pub(crate) fn of(&self, route: &Key) -> &[Listener] {
        self.of.get(route).map(Vec::as_slice).unwrap_or_default()
    }

    /// Routes of a gateway.
    pub(crate) fn routes(&self, gateway: &NsName) -> impl Iterator<Item = &Key> + use<'_> {
        let gateway = self.to.get(gateway);
        gateway.into_iter().flat_map(|gateway| &gateway.routes)
    }

    /// How many routes each listener of a gateway has.
    pub(crate) fn counts(&self, gateway: &NsName) -> Option<&BTreeMap<String, u32>> {
        self.to.get(gateway).map(|gateway| &gateway.counts)
    }
}
