//! Which objects are in force, given what the files hold now and what was in force before.
//!
//! Invariants: an object leaves only when no file holds it and every file that held it is wholly understood; of an object
//! that stands twice, the one in force stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::scan::{Content, Document, Files, Good, Refused};
use crate::model::Key;
use crate::path::FieldPath;
use crate::source::{Batch, Change, Effect, Origin, Rejection};

/// Objects in force.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) in_force: BTreeMap<Key, Held>,
}

/// One object in force.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) good: Arc<Good>,
    pub(super) origin: Origin,
}

impl Merged {
    /// Begin with what was in force when the controller stopped.
    pub(super) fn new(in_force: BTreeMap<Key, Held>) -> Self {
        Self { in_force }
    }

    /// All that is in force, as changes.
    pub(super) fn everything(&self) -> Vec<Change> {
        self.in_force.values().map(Held::put).collect()
    }

    /// Take over what the files hold now.
    pub(super) fn update(&mut self, files: &Files) -> Batch {
        let mut rejections = Vec::new();
        let mut next = self.claims(files, &mut rejections);
        self.keep_last_good(files, &mut next, &mut rejections);
        let mut changes = Vec::new();
        for (key, held) in &next {
            let same = self.in_force.get(key).is_some_and(|before| {
                before.origin == held.origin && before.good.object == held.good.object
            });
            if !same {
                changes.push(held.put());
            }
        }
        let gone = self.in_force.keys().filter(|key| !next.contains_key(key));
        changes.extend(gone.cloned().map(Change::Remove));
        self.in_force = next;
        Batch {
            changes,
            rejections,
            ..Batch::default()
        }
    }

    /// Good documents. Where several say the same object, the file counts that did before, else the first.
    fn claims(&self, files: &Files, rejections: &mut Vec<Rejection>) -> BTreeMap<Key, Held> {
        let mut claims: BTreeMap<Key, Vec<Held>> = BTreeMap::new();
        for document in documents(files) {
            if let Ok(good) = &document.outcome {
                let held = Held {
                    good: good.clone(),
                    origin: document.origin.clone(),
                };
                claims.entry(good.object.key()).or_default().push(held);
            }
        }
        let choose = |(key, mut claims): (Key, Vec<Held>)| {
            let owner = self
                .in_force
                .get(&key)
                .and_then(|held| held.origin.file.clone());
            let chosen = claims
                .iter()
                .position(|claim| claim.origin.file == owner)
                .unwrap_or(0);
            let chosen = claims.swap_remove(chosen);
            for other in claims {
                rejections.push(twice(&key, &other.origin, &chosen.origin));
            }
            (key, chosen)
        };
        claims.into_iter().map(choose).collect()
    }

    fn keep_last_good(
        &self,
        files: &Files,
        next: &mut BTreeMap<Key, Held>,
        rejections: &mut Vec<Rejection>,
    ) {
        let mut incomplete: Vec<&Arc<Path>> = Vec::new();
        for (path, file) in &files.by_path {
            match &file.content {
                Content::Broken { .. } => incomplete.push(path),
                Content::Read(documents) => {
                    let refused = documents.iter().filter_map(|d| d.outcome.as_ref().err());
                    for Refused(refusal) in refused {
                        match &refusal.key {
                            None => incomplete.push(path),
                            Some(key) => self.keep(key, next),
                        }
                    }
                }
            }
        }
        for (key, held) in &self.in_force {
            let unseen = |file: &Arc<Path>| {
                let mut unlisted = files.unlisted.iter();
                incomplete.contains(&file) || unlisted.any(|(dir, _)| file.starts_with(dir))
            };
            if held.origin.file.as_ref().is_some_and(unseen) {
                self.keep(key, next);
            }
        }
        self.report(files, next, rejections);
    }

    fn keep(&self, key: &Key, next: &mut BTreeMap<Key, Held>) {
        if let Some(held) = self.in_force.get(key) {
            next.entry(key.clone()).or_insert_with(|| held.clone());
        }
    }

    fn report(&self, files: &Files, next: &BTreeMap<Key, Held>, rejections: &mut Vec<Rejection>) {
        let effect = |kept: bool| if kept { Effect::LastGood } else { Effect::None };
        for (dir, message) in &files.unlisted {
            rejections.push(Rejection {
                file: Some(dir.as_path().into()),
                line: 0,
                object: String::new(),
                field: String::new(),
                message: message.clone(),
                effect: Effect::LastGood,
            });
        }
        for (path, file) in &files.by_path {
            if let Content::Broken { line, message } = &file.content {
                let kept = next
                    .values()
                    .any(|held| held.origin.file.as_ref() == Some(path));
                rejections.push(Rejection {
                    file: Some(path.clone()),
                    line: *line,
                    object: String::new(),
                    field: String::new(),
                    message: message.clone(),
                    effect: effect(kept),
                });
            }
        }
        for document in documents(files) {
            let Err(Refused(refusal)) = &document.outcome else {
                continue;
            };
            let kept = refusal
                .key
                .as_ref()
                .is_some_and(|key| next.contains_key(key));
            for issue in &refusal.issues {
                rejections.push(Rejection {
                    file: document.origin.file.clone(),
                    line: document.origin.line_of(&issue.field),
                    object: refusal.label.clone(),
                    field: issue.field.to_string(),
                    message: issue.message.clone(),
                    effect: effect(kept),
                });
            }
        }
    }
}

impl Held {
    fn put(&self) -> Change {
        Change::Put(self.good.object.clone(), self.origin.clone())
    }
}

fn documents(files: &Files) -> impl Iterator<Item = &Document> {
    files.by_path.values().flat_map(|file| match &file.content {
        Content::Broken { .. } => [].iter(),
        Content::Read(documents) => documents.iter(),
    })
}

fn twice(key: &Key, other: &Origin, chosen: &Origin) -> Rejection {
    let place = |origin: &Origin| {
        let file = origin.file.as_ref().map(|file| file.display().to_string());
        format!("{}:{}", file.unwrap_or_default(), origin.line)
    };
    let field = FieldPath::of("metadata.name");
    Rejection {
        file: other.file.clone(),
        line: other.line_of(&field),
        object: key.to_string(),
        field: field.to_string(),
        message: format!(
            "stands twice: {} is in force, {} is not",
            place(chosen),
            place(other)
        ),
        effect: Effect::None,
    }
}
