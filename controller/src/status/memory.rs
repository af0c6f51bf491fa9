//! What the next start must know, so that it does not take what it has not seen yet for absent.
//!
//! Invariants: what must be remembered is on the disk before anybody is served it, so that no end of the controller,
//! however sudden, lets peers of a captured pod go back to plaintext; a memory that is there and cannot be read ends the start: without it, captured pods would be told about as
//! plaintext, and mandatory waypoints as none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::world::{
    Addresses, Capture, Ingresses, Owners, Remembered, RememberedAddresses, Waypoints, World,
};

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
    /// Which namespace has which host of Ingresses.
    #[serde(default, skip_serializing_if = "Owners::is_empty")]
    hosts: Owners,
    /// Addresses that hosts outside of the cluster were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    addresses: RememberedAddresses,
}

impl Memory {
    /// What is to be remembered now.
    #[must_use]
    pub fn of(world: &World) -> Self {
        Self {
            captured: world.capture.remember(),
            programmed: world.waypoints.remember(),
            addresses: world.addresses.remember(),
            hosts: world.ingresses.owners().clone(),
        }
    }

    /// What was remembered.
    #[must_use]
    pub fn recall(&self) -> World {
        World {
            capture: Capture::recall(&self.captured),
            waypoints: Waypoints::recall(&self.programmed),
            addresses: Addresses::recall(&self.addresses),
            ingresses: Ingresses::default().with_owners(self.hosts.clone()),
            ..World::default()
        }
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

/// Keeps the memory's file up to date.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    written: Memory,
}

impl Journal {
    /// The file, and what it holds.
    #[must_use]
    pub fn new(path: PathBuf, written: Memory) -> Self {
        Self { path, written }
    }

    /// Write what is to be remembered, if it is something else than what was written. Blocks for as long as the disk
    /// takes. What cannot be written is tried again with the next change.
    pub fn keep(&mut self, memory: Memory) {
        if memory == self.written {
            return;
        }
        let text = serde_json::to_vec_pretty(&memory).map_err(io::Error::from);
        match text.and_then(|text| atomic::replace(&self.path, &text, 0o600)) {
            Ok(()) => self.written = memory,
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "cannot be written");
            }
        }
    }
}
