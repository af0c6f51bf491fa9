//! What is in force, given what lists and watches told.
//!
//! Invariants: whatever was missed between two watches, the list that follows sets right: what it does not name is gone,
//! and not before it is complete; an object that is not good does not displace the last good one.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::book::Book;
use super::read::{Looked, Outcome};
use crate::model::{Key, Kind, NsName};
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
    rejections: BTreeMap<Key, Vec<Rejection>>,
    changes: Vec<Change>,
    dirty: bool,
    seen: Seen,
    book: Book,
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
        let table = self.kinds.entry(key.kind).or_default();
        if let Some(listed) = &mut table.listed {
            listed.insert(key.name.clone());
        }
        let known = table.known.get(&key.name);
        if known.is_some_and(|known| known.version == version) {
            return;
        }
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
                entry.in_force = false;
                if was_in_force {
                    self.changes.push(Change::Remove(key.clone()));
                }
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
                self.rejections.insert(key.clone(), rejected);
                self.dirty = true;
            }
        }
        table.known.insert(key.name, entry);
    }

    fn gone(&mut self, key: &Key) {
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
        Some(Batch {
            changes: std::mem::take(&mut self.changes),
            rejections: self.rejections.values().flatten().cloned().collect(),
            seen: self.seen.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
