//! Where a pod's network namespace is: a file that leads to it, or a descriptor that keeps it.
//!
//! Invariant: only a path is remembered across restarts; a descriptor means nothing to the next agent, which finds the
//! namespace again by what it is.

use std::io;
use std::path::{Path, PathBuf};

use culvert_runtime::netns::Netns;
use serde::{Deserialize, Serialize};

/// Where a network namespace is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub enum Place {
    /// At this path, which may come to lead elsewhere. An empty one leads nowhere yet.
    Path(PathBuf),
    /// Open, and so this one for ever.
    Held(Netns),
}

impl Place {
    /// Whether it is not known yet.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Path(path) if path.as_os_str().is_empty())
    }

    /// The namespace.
    pub fn open(&self) -> io::Result<Netns> {
        match self {
            Self::Path(path) => Netns::open(path),
            Self::Held(netns) => Ok(netns.clone()),
        }
    }

    /// What people may call it.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            // As /proc has it.
            Self::Held(netns) => format!("net:[{}]", netns.id().inode).into(),
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Path(PathBuf::new())
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(this), Self::Path(other)) => this == other,
            (Self::Held(this), Self::Held(other)) => this.id() == other.id(),
            _ => false,
        }
    }
}

impl Eq for Place {}

impl From<Netns> for Place {
    fn from(netns: Netns) -> Self {
        Self::Held(netns)
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<String> for Place {
    fn from(path: String) -> Self {
        Self::Path(path.into())
    }
}

impl From<&str> for Place {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<Place> for PathBuf {
    fn from(place: Place) -> Self {
        match place {
            Place::Path(path) => path,
            Place::Held(_) => Self::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_remembered_and_a_descriptor_is_not() {
        let remembered = |place: &Place| -> Place {
            serde_json::from_str(&serde_json::to_string(place).unwrap()).unwrap()
        };
        let path = Place::from("/run/netns/a");
        assert_eq!(remembered(&path), path);
        let held = Place::Held(Netns::current().unwrap());
        assert!(remembered(&held).is_unknown());
        assert_eq!(held, Place::Held(Netns::current().unwrap()));
        assert_ne!(held, path);
        assert!(
            held.name().to_string_lossy().starts_with("net:["),
            "{:?}",
            held.name()
        );
        assert_eq!(held.open().unwrap().id(), Netns::current().unwrap().id());
    }
}
