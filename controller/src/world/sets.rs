//! ListenerSets by their Gateways, and what each Gateway's listeners are with them.
//!
//! Invariant: kept in step with the cache: a change of a Gateway, a set or a namespace makes anew what depends on it, and
//! whoever asks learns which sets have other listeners since.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::merge::{self, Merged};
use crate::model::{Allowed, Gateway, Listener, NsName, Obj, Object};

/// All Gateways that a ListenerSet names.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    by_gateway: BTreeMap<NsName, BTreeSet<NsName>>,
    merged: BTreeMap<NsName, Merged>,
    moved: Moved,
}

/// What differs since somebody asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Gateways with other listeners or sets.
    pub gateways: BTreeSet<NsName>,
    /// Sets that have other listeners, or are allowed or not, as they were not before.
    pub sets: BTreeSet<NsName>,
}

impl World {
    /// A Gateway of class `culvert` with its ListenerSets. None: it is not, or no set names it.
    #[must_use]
    pub fn merged(&self, gateway: &NsName) -> Option<&Merged> {
        self.sets.merged.get(gateway)
    }

    /// All listeners of a Gateway of class `culvert`.
    #[must_use]
    pub fn listeners(&self, gateway: &NsName) -> Option<&[Listener]> {
        if let Some(merged) = self.merged(gateway) {
            return Some(&merged.listeners);
        }
        self.cache.gateways.get(gateway)?.spec.listeners.as_deref()
    }

    /// What differs since the last time.
    pub(crate) fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.sets.moved)
    }

    /// An object came or went.
    pub(super) fn place_sets(&mut self, object: &Object, present: bool) {
        match object {
            Object::ListenerSet(set) => {
                let Some(gateway) = &set.spec.gateway else {
                    return;
                };
                let known = self.sets.by_gateway.entry(gateway.clone()).or_default();
                if present {
                    known.insert(set.meta.name.clone());
                } else {
                    known.remove(&set.meta.name);
                }
                if known.is_empty() {
                    self.sets.by_gateway.remove(gateway);
                }
                self.merge(gateway);
            }
            Object::Gateway(gateway) => self.merge(&gateway.meta.name),
            Object::Namespace(_) => {
                let named = self.sets.by_gateway.keys();
                let gateways = named.filter_map(|name| self.cache.gateways.get(name));
                let selecting = gateways.filter(|gateway| merge::by_labels(&gateway.spec));
                let selecting = selecting.map(|gateway| gateway.meta.name.clone());
                for gateway in selecting.collect::<Vec<_>>() {
                    self.merge(&gateway);
                }
            }
            _ => {}
        }
    }

    /// The gateway for Ingresses takes listeners of no set, whatever its Gateway allows.
    fn merge(&mut self, gateway: &NsName) {
        let sets = self.sets.by_gateway.get(gateway).into_iter().flatten();
        let sets: Vec<_> = sets
            .filter_map(|name| self.cache.listener_sets.get(name))
            .collect();
        let object = self.cache.gateways.get(gateway);
        let alone = object.filter(|_| self.ingresses.gateway() == gateway);
        let alone = alone.map(|object| Obj {
            meta: object.meta.clone(),
            spec: Gateway {
                allowed_sets: Allowed::None,
                ..object.spec.clone()
            },
        });
        let object = alone.as_ref().or(object.map(|object| &**object));
        let own = object.and_then(|object| object.spec.listeners.as_deref());
        let now = match (object, own) {
            (Some(object), Some(own)) if !sets.is_empty() => {
                let namespaces = &self.cache.namespaces;
                let labels = |name: &str| Some(&namespaces.find("", name)?.meta.labels);
                Some(merge::merge(object, own, sets, labels))
            }
            _ => None,
        };
        let before = match now.clone() {
            Some(now) => self.sets.merged.insert(gateway.clone(), now),
            None => self.sets.merged.remove(gateway),
        };
        if before == now {
            return;
        }
        let (before, now) = (before.unwrap_or_default(), now.unwrap_or_default());
        let (old, new) = (before.by_set(), now.by_set());
        let all = old.keys().chain(new.keys());
        let other = all.filter(|set| old.get(*set) != new.get(*set));
        self.sets.moved.sets.extend(other.map(|set| (*set).clone()));
        self.sets.moved.gateways.insert(gateway.clone());
    }
}

/// Whether a set names another Gateway than it did.
pub(super) fn moves(before: &Object, now: &Object) -> bool {
    match (before, now) {
        (Object::ListenerSet(before), Object::ListenerSet(now)) => {
            before.spec.gateway != now.spec.gateway
        }
        _ => false,
    }
}
