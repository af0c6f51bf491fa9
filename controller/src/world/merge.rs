//! The listeners of a Gateway with those of its ListenerSets.
//!
//! Invariants: the Gateway's own come first and are what they are without any set; sets follow by age, then by name; a set
//! that the Gateway does not allow has none.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::admit::Claims;
use crate::model::{Allowed, Gateway, Listener, ListenerSet, NsName, Obj};

/// A Gateway's listeners, and the sets that want to add to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// Its own, then those of its sets that are allowed, in their order.
    pub listeners: Vec<Listener>,
    /// All sets that name it, in their order.
    pub sets: Vec<Member>,
}

/// A set that names a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: NsName,
    /// Whether the Gateway takes listeners from it.
    pub allowed: bool,
    /// Where its listeners stand among all.
    pub listeners: Range<usize>,
}

impl Merged {
    /// Sets with what they add; none if they are not allowed.
    pub(super) fn by_set(&self) -> BTreeMap<&NsName, Option<&[Listener]>> {
        let added = |member: &Member| {
            let listeners = self.listeners.get(member.listeners.clone());
            listeners.filter(|_| member.allowed)
        };
        let sets = self.sets.iter();
        sets.map(|member| (&member.name, added(member))).collect()
    }

    /// One set.
    #[must_use]
    pub fn set(&self, name: &NsName) -> Option<&Member> {
        self.sets.iter().find(|member| member.name == *name)
    }
}

/// Put them together, given the labels of a namespace.
pub(super) fn merge<'a>(
    gateway: &Obj<Gateway>,
    own: &[Listener],
    mut sets: Vec<&Arc<Obj<ListenerSet>>>,
    labels: impl Fn(&str) -> Option<&'a BTreeMap<String, String>>,
) -> Merged {
    // As the specification has it: by "{namespace}/{name}", as text.
    sets.sort_by_cached_key(|set| (set.meta.created, set.meta.name.to_string()));
    let mut merged = Merged {
        listeners: own.to_vec(),
        sets: Vec::with_capacity(sets.len()),
    };
    let mut claims = Claims::of(own);
    for set in sets {
        let name = &set.meta.name;
        let (at, from) = (&gateway.meta.name.namespace, &name.namespace);
        let first = merged.listeners.len();
        let allowed = gateway.spec.allowed_sets.admits(at, from, labels(from));
        if allowed {
            let mut next = set.spec.listeners.clone();
            claims.judge(&mut next);
            merged.listeners.extend(next);
        }
        merged.sets.push(Member {
            name: name.clone(),
            allowed,
            listeners: first..merged.listeners.len(),
        });
    }
    merged
}

/// Whether what is merged depends on namespaces' labels.
pub(super) fn by_labels(gateway: &Gateway) -> bool {
    matches!(gateway.allowed_sets, Allowed::Selector(_))
}

#[cfg(test)]
mod tests;
