//! What is in force, given what lists and watches told.
//!
//! Invariants: whatever was missed between two watches, the list that follows sets right: what it does not name is gone,
//! and not before it is complete; an object that is not good does not displace the last good one; what is wrong with a
//! route that has to do with other controllers only is not told.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::book::{Book, Parent};
use super::read::{Looked, Outcome};
use crate::model::{Key, Kind, NsName, Object};
use crate::source::{Batch, Change, Effect, Origin, Rejection, Seen};

/// What a list or watch tells.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A list of this kind begins.
    Begin(Kind),
    /// It is complete, or the kind does not exist.
    End(Kind),
    /// An object is there.
    There(Box<Looked>),
    /// An object is gone.
    Gone(Key),
    /// All of the kind was told up to this version.
    At(Kind, u64),
}

/// What is in force.
#[derive(Debug, Default)]
pub(super) struct Tables {
    kinds: BTreeMap<Kind, Table>,
    rejections: BTreeMap<Key, Rejected>,
    /// Gateways of our classes.
    gateways: HashSet<NsName>,
    /// ListenerSets with what each names as its Gateway.
    sets: HashMap<NsName, NsName>,
    changes: Vec<Change>,
    dirty: bool,
    seen: Seen,
    book: Book,
}

#[derive(Debug)]
struct Rejected {
    list: Vec<Rejection>,
    /// Of a route or ListenerSet.
    parents: Option<Vec<Parent>>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<NsName, Entry>,
    listed: Option<HashSet<NsName>>,
    complete: bool,
}

#[derive(Debug)]
struct Entry {
    version: String,
    in_force: bool,
}

impl Tables {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Begin(kind) => {
                self.kinds.entry(kind).or_default().listed = Some(HashSet::new());
            }
            News::There(looked) => self.there(*looked),
            News::Gone(key) => self.gone(&key),
            News::At(kind, version) => self.dirty |= self.seen.set(kind, version),
            News::End(kind) => {
                let table = self.kinds.entry(kind).or_default();
                table.complete = true;
                if let Some(listed) = table.listed.take() {
                    let missing = table.known.keys().filter(|name| !listed.contains(*name));
                    let missing: Vec<_> = missing.cloned().collect();
                    for name in missing {
                        self.gone(&Key { kind, name });
                    }
                }
            }
        }
    }

    fn there(&mut self, looked: Looked) {
        let Looked {
            key,
            version,
            outcome,
            told,
        } = looked;
        if let Outcome::Good(Object::Gateway(gateway)) = &outcome {
            self.count(&key.name, gateway.spec.is_ours());
        }
        if key.kind == Kind::ListenerSet {
            let gateway = told.as_ref().and_then(|told| {
                let (_, parent) = told.parents(&key.name.namespace).next()?;
                match parent {
                    Parent::Gateway(name) => Some(name),
                    _ => None,
                }
            });
            self.place(&key.name, gateway.as_ref());
        }
        let table = self.kinds.entry(key.kind).or_default();
        let foreign = matches!(outcome, Outcome::Foreign);
        if let Some(listed) = table.listed.as_mut().filter(|_| !foreign) {
            listed.insert(key.name.clone());
        }
        let known = table.known.get(&key.name);
        if known.is_some_and(|known| known.version == version) {
            return;
        }
        let has_parents = Kind::ROUTES.contains(&key.kind) || key.kind == Kind::ListenerSet;
        let parents = told.as_ref().filter(|_| has_parents).map(|told| {
            let parents = told.parents(&key.name.namespace);
            parents.map(|(_, parent)| parent).collect()
        });
        self.book.set(&key, told);
        let was_in_force = known.is_some_and(|known| known.in_force);
        let mut entry = Entry {
            version,
            in_force: was_in_force,
        };
        self.dirty |= self.rejections.remove(&key).is_some();
        match outcome {
            Outcome::Good(object) => {
                entry.in_force = true;
                self.changes.push(Change::Put(object, Origin::default()));
            }
            Outcome::Foreign => {
                // Of what is not ours nothing is kept, however much there is of it.
                table.known.remove(&key.name);
                if was_in_force {
                    self.changes.push(Change::Remove(key));
                }
                return;
            }
            Outcome::Bad(issues) => {
                let rejection = |issue: crate::path::Issue| Rejection {
                    file: None,
                    line: 0,
                    object: key.to_string(),
                    field: issue.field.to_string(),
                    message: issue.message,
                    effect: if was_in_force {
                        Effect::LastGood
                    } else {
                        Effect::None
                    },
                };
                let rejected = issues.into_iter().map(rejection).collect();
                let list = rejected;
                self.rejections
                    .insert(key.clone(), Rejected { list, parents });
                self.dirty = true;
            }
        }
        table.known.insert(key.name, entry);
    }

    fn gone(&mut self, key: &Key) {
        if key.kind == Kind::Gateway {
            self.count(&key.name, false);
        }
        if key.kind == Kind::ListenerSet {
            self.place(&key.name, None);
        }
        let table = self.kinds.entry(key.kind).or_default();
        if let Some(listed) = &mut table.listed {
            listed.remove(&key.name);
        }
        self.book.set(key, None);
        self.dirty |= self.rejections.remove(key).is_some();
        if table.known.remove(&key.name).is_some_and(|e| e.in_force) {
            self.changes.push(Change::Remove(key.clone()));
        }
    }

    /// Whether a Gateway is ours.
    fn count(&mut self, gateway: &NsName, ours: bool) {
        let differs = if ours {
            self.gateways.insert(gateway.clone())
        } else {
            self.gateways.remove(gateway)
        };
        self.dirty |= differs && !self.rejections.is_empty();
    }

    /// What a ListenerSet names as its Gateway; none of one that is gone.
    fn place(&mut self, set: &NsName, gateway: Option<&NsName>) {
        let before = match gateway {
            Some(gateway) => self.sets.insert(set.clone(), gateway.clone()),
            None => self.sets.remove(set),
        };
        self.dirty |= before.as_ref() != gateway && !self.rejections.is_empty();
    }

    fn concerns_us(&self, rejected: &Rejected) -> bool {
        let gateways = |name: &NsName| self.gateways.contains(name);
        let sets = |name: &NsName| self.sets.get(name).is_some_and(gateways);
        let ours = |parent: &Parent| parent.is_ours(gateways, sets);
        let parents = rejected.parents.as_ref();
        parents.is_none_or(|parents| parents.is_empty() || parents.iter().any(ours))
    }

    /// Kinds of which no list was complete yet.
    pub(super) fn incomplete(&self) -> Vec<Kind> {
        let complete = |kind: &Kind| self.kinds.get(kind).is_some_and(|table| table.complete);
        Kind::ALL
            .into_iter()
            .filter(|kind| !complete(kind))
            .collect()
    }

    /// How many changes wait.
    pub(super) fn waiting(&self) -> usize {
        self.changes.len()
    }

    /// What changed since the last time, if anything.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        if self.changes.is_empty() && !self.dirty {
            return None;
        }
        self.dirty = false;
        let rejections = self.rejections.values().filter(|r| self.concerns_us(r));
        let rejections = rejections.flat_map(|r| &r.list).cloned().collect();
        Some(Batch {
            changes: std::mem::take(&mut self.changes),
            rejections,
            seen: self.seen.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
