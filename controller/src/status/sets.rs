//! ListenerSets of Gateways of ours, for their statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::document::View;
use crate::keys;
use crate::model::NsName;
use crate::translate::listener::SetState;

/// What is to be said of one.
#[derive(Clone, Debug)]
pub(super) struct SetVerdict {
    pub(super) state: SetState,
    /// Its Gateway's status says that it is not accepted.
    pub(super) parent_refused: bool,
    /// Its Gateway's status says that it is programmed.
    pub(super) parent_programmed: bool,
}

pub(super) fn all(view: &View<'_>) -> BTreeMap<NsName, SetVerdict> {
    let mut all = BTreeMap::new();
    for (name, gateway) in view.gateways {
        if gateway.sets.is_empty() {
            continue;
        }
        let object = view.world.cache.gateways.get(name);
        let says = |key| object.is_some_and(|o| o.meta.annotations.contains_key(key));
        for state in &gateway.sets {
            let verdict = SetVerdict {
                state: state.clone(),
                parent_refused: says(keys::REFUSED),
                parent_programmed: says(keys::PROGRAMMED),
            };
            all.insert(state.name.clone(), verdict);
        }
    }
    all
}

/// Those whose Gateway does not exist.
pub(super) fn orphans(view: &View<'_>) -> BTreeSet<NsName> {
    let cache = &view.world.cache;
    let orphans = cache.listener_sets.iter().filter(|set| {
        let gateway = set.spec.gateway.as_ref();
        gateway.is_some_and(|gateway| cache.gateways.get(gateway).is_none())
    });
    orphans.map(|set| set.meta.name.clone()).collect()
}
