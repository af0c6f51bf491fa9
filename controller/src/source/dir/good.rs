//! The last good objects on disk, for a restart while a file is wrong.
//!
//! Invariant: the file is replaced as a whole; one that cannot be understood ends the start, because what it said was in
//! force may have been a denial.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DirError;
use super::merge::{Held, Merged};
use super::scan::Good;
use crate::admit::admit;
use crate::atomic;
use crate::model::{Key, Kind};
use crate::source::Origin;

#[derive(Serialize, Deserialize)]
struct Entry<V> {
    file: String,
    line: u32,
    object: V,
}

/// What was in force. Nothing if there is no such file.
pub(super) fn load(path: &Path) -> Result<BTreeMap<Key, Held>, DirError> {
    let wrong = |message: String| DirError::LastGood {
        path: path.into(),
        message,
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let entries: Vec<Entry<Value>> =
        serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let mut in_force = BTreeMap::new();
    for entry in entries {
        match admit(&entry.object) {
            Ok(object) => {
                let file: Arc<Path> = Path::new(&entry.file).into();
                let origin = Origin {
                    file: Some(file),
                    line: entry.line,
                    positions: None,
                };
                let held = Held {
                    origin,
                    good: Arc::new(Good {
                        object,
                        value: entry.object,
                    }),
                };
                in_force.insert(held.good.object.key(), held);
            }
            // Another version of the controller admitted it.
            Err(refusal) => {
                tracing::warn!(object = refusal.label, issues = ?refusal.issues, "a remembered object is not admitted any more")
            }
        }
    }
    Ok(in_force)
}

/// Remember what is in force.
pub(super) fn store(path: &Path, merged: &Merged) -> std::io::Result<()> {
    let file = |origin: &Origin| origin.file.as_ref().map(|file| file.display().to_string());
    let entries: Vec<_> = merged
        .in_force
        .values()
        // Nobody expects a key in a second place.
        .filter(|held| held.good.object.kind() != Kind::Secret)
        .map(|held| Entry {
            file: file(&held.origin).unwrap_or_default(),
            line: held.origin.line,
            object: &held.good.value,
        })
        .collect();
    atomic::replace(path, &serde_json::to_vec(&entries)?, 0o600)
}
