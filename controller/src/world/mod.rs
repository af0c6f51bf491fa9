//! All that the translation looks at: the cache and its indexes, the settings, and the little that the mesh remembers of
//! its own past (which pods are captured, which waypoints are programmed).

mod addresses;
mod bundles;
mod capture;
mod entries;
mod index;
mod ingresses;
mod merge;
mod routes;
mod sets;
mod settings;
mod waypoints;

pub use addresses::{Addresses, Proposals, RememberedAddresses};
pub(crate) use bundles::Bundles;
pub use capture::{Capture, PodCapture, Proof};
pub use index::Index;
pub use ingresses::{Ingresses, Owners};
pub use merge::{Member, Merged};
pub use sets::Moved;
use sets::Sets;
pub use settings::Settings;
pub use waypoints::{Consumer, Remembered, Waypoints, Wishes};

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::cache::Cache;
use crate::keys;
use crate::model::{CaBundle, Key, Kind, NsName, Obj, Object, TlsSecret};

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
    /// Who asks for which hosts.
    pub ingresses: Ingresses,
    /// Addresses of the mesh's own for what is outside of it.
    pub addresses: Addresses,
    /// The time by which what has a beginning or an end is judged.
    pub now: Timestamp,
    /// Texts that objects share.
    pub(crate) bundles: Bundles,
    /// ListenerSets and their Gateways.
    pub(crate) sets: Sets,
}

impl World {
    /// Add or replace an object; gives back the one before.
    pub fn put(&mut self, object: &Object) -> Option<Object> {
        let kept = self.keep_pair(object).or_else(|| self.share(object));
        let object = kept.as_ref().unwrap_or(object);
        let before = self.cache.put(object.clone());
        if let Some(before) = &before {
            self.find_by(before, false);
            if sets::moves(before, object) {
                self.place_sets(before, false);
            }
        }
        self.find_by(object, true);
        self.place_sets(object, true);
        if let Object::Gateway(gateway) = object {
            let programmed = gateway.spec.listeners.is_none()
                && gateway.meta.annotations.contains_key(keys::PROGRAMMED);
            self.waypoints.announce(&gateway.meta.name, programmed);
        }
        if object.kind() == Kind::MeshConfig {
            self.refresh_settings();
        }
        before
    }

    /// The Secret with the last good pair, where what it holds now is none.
    fn keep_pair(&self, object: &Object) -> Option<Object> {
        let Object::Secret(now) = object else {
            return None;
        };
        let before = self.cache.secrets.get(&now.meta.name)?;
        if now.spec.pair.is_some() {
            return None;
        }
        let spec = TlsSecret {
            pair: before.spec.pair.clone(),
            problem: now.spec.problem.clone(),
        };
        let meta = now.meta.clone();
        Some(Object::Secret(Arc::new(Obj { meta, spec })))
    }

    /// The ConfigMap with the same text as others that say the same.
    fn share(&mut self, object: &Object) -> Option<Object> {
        let Object::ConfigMap(bundle) = object else {
            return None;
        };
        let certificates = self.bundles.one(bundle.spec.certificates.as_ref().ok()?);
        let spec = CaBundle {
            certificates: Ok(certificates),
        };
        let meta = bundle.meta.clone();
        Some(Object::ConfigMap(Arc::new(Obj { meta, spec })))
    }

    /// Remove an object; gives it back.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let removed = self.cache.remove(key)?;
        self.find_by(&removed, false);
        self.place_sets(&removed, false);
        if key.kind == Kind::Gateway {
            self.waypoints.announce(&key.name, false);
        }
        if key.kind == Kind::MeshConfig {
            self.refresh_settings();
        }
        Some(removed)
    }

    /// The pod that has an address. Of several, one that is being deleted has it no more, and of the others the one that
    /// was made last, since the network gives an address to a new pod when an old one has left it. None where that does
    /// not tell.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<&NsName> {
        let pods = self.index.pods_at(address);
        let mut rank: Vec<_> = pods
            .filter_map(|name| self.cache.pods.get(name))
            .map(|pod| ((!pod.meta.deleting, pod.meta.created), &pod.meta.name))
            .collect();
        rank.sort();
        match rank.as_slice() {
            [.., (second, _), (first, _)] if second == first => None,
            [.., (_, name)] => Some(name),
            [] => None,
        }
    }

    /// Whether an object is to be found by other things than its name.
    fn find_by(&mut self, object: &Object, present: bool) {
        if let Object::Ingress(ingress) = object {
            self.ingresses.set(ingress, present);
        }
        if present {
            self.index.add(object);
        } else {
            self.index.remove(object);
        }
    }

    fn refresh_settings(&mut self) {
        let config = self.cache.mesh_configs.get(&NsName::new("", "default"));
        self.settings.take(config.map(|config| &config.spec));
    }
}
