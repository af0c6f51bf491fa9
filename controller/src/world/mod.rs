//! All that the translation looks at: the cache and its indexes, the settings, and the little that the mesh remembers of
//! its own past (which pods are captured, which waypoints are programmed).

mod capture;
mod index;
mod settings;
mod waypoints;

pub use capture::{Capture, PodCapture};
pub use index::Index;
pub use settings::Settings;
pub use waypoints::{Consumer, Remembered, Waypoints};

use crate::cache::Cache;
use crate::model::{Key, Kind, NsName, Object};

/// All that the translation looks at.
#[derive(Debug, Default)]
pub struct World {
    /// Objects.
    pub cache: Cache,
    /// What is found by other things than its name.
    pub index: Index,
    /// Of the whole mesh.
    pub settings: Settings,
    /// Which pods' traffic is in the mesh's hands.
    pub capture: Capture,
    /// Which waypoints serve whom.
    pub waypoints: Waypoints,
}

impl World {
    /// Add or replace an object; gives back the one before.
    pub fn put(&mut self, object: &Object) -> Option<Object> {
        let before = self.cache.put(object.clone());
        if let Some(before) = &before {
            self.index.remove(before);
        }
        self.index.add(object);
        if object.kind() == Kind::MeshConfig {
            self.refresh_settings();
        }
        before
    }

    /// Remove an object; gives it back.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let removed = self.cache.remove(key)?;
        self.index.remove(&removed);
        if key.kind == Kind::MeshConfig {
            self.refresh_settings();
        }
        Some(removed)
    }

    fn refresh_settings(&mut self) {
        let config = self.cache.mesh_configs.get(&NsName::new("", "default"));
        self.settings.take(config.map(|config| &config.spec));
    }
}
