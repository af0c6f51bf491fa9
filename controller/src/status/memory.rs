//! What the next start must know, so that it does not take what it has not seen yet for absent.
//!
//! Invariant: a memory that is there and cannot be read ends the start: without it, captured pods would be told about as
//! plaintext, and mandatory waypoints as none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::world::{Capture, Remembered, Waypoints};

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}; repair it, or remove it to begin without memory")]
pub struct MemoryError {
    path: PathBuf,
    message: String,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Pods whose peers use HBONE, and which pod each is.
    captured: BTreeMap<String, String>,
    /// For whom waypoints are programmed.
    programmed: BTreeMap<String, Remembered>,
}

impl Memory {
    /// What is to be remembered now.
    #[must_use]
    pub fn of(capture: &Capture, waypoints: &Waypoints) -> Self {
        Self {
            captured: capture.remember(),
            programmed: waypoints.remember(),
        }
    }

    /// What was remembered.
    #[must_use]
    pub fn recall(&self) -> (Capture, Waypoints) {
        (
            Capture::recall(&self.captured),
            Waypoints::recall(&self.programmed),
        )
    }

    /// Read the file; nothing is remembered if there is none.
    pub fn load(path: &Path) -> Result<Self, MemoryError> {
        let wrong = |message: String| MemoryError {
            path: path.into(),
            message,
        };
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}
