//! Takes resources as they come and publishes a snapshot after each batch.
//!
//! Invariant: a resource that is wrong never disappears. The last good one keeps serving; if there was none, a route
//! answers 500 where it would have matched, and the resource is reported as rejected either way.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use culvert_proto::{type_url, waypoint as pb};
use prost::Message as _;

use super::{Carried, Routes, build};
use crate::config::ConfigError;
use crate::config::fault::FaultPolicy;
use crate::config::route::{Decoded, Route};
use crate::config::traffic::TrafficPolicy;

/// The published snapshot; cheap to read, never blocks.
pub type Shared = Arc<ArcSwap<Routes>>;

/// The resources behind the snapshot.
#[derive(Debug, Default)]
pub struct RouteStore {
    routes: BTreeMap<String, Arc<Route>>,
    traffic: BTreeMap<String, Arc<TrafficPolicy>>,
    faults: BTreeMap<String, Arc<FaultPolicy>>,
    /// As they came, for dumps. Only what serves is here.
    raw: Raw,
    carried: Carried,
    published: Shared,
}

#[derive(Debug, Default)]
struct Raw {
    routes: BTreeMap<String, Box<[u8]>>,
    traffic: BTreeMap<String, Box<[u8]>>,
    faults: BTreeMap<String, Box<[u8]>>,
}

/// A resource that was not taken as it is.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// Not the protobuf message that its type says.
    #[error("malformed message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Not a type that belongs here.
    #[error("unknown type {0}")]
    UnknownType(String),
}

impl RouteStore {
    /// The snapshot that follows this store.
    pub fn shared(&self) -> Shared {
        Arc::clone(&self.published)
    }

    /// Whether resources of this type belong here.
    pub fn takes(type_url: &str) -> bool {
        [
            type_url::HTTP_ROUTE,
            type_url::TRAFFIC_POLICY,
            type_url::FAULT_POLICY,
        ]
        .contains(&type_url)
    }

    /// Takes one resource; the snapshot changes with the next [`RouteStore::publish`].
    pub fn set(&mut self, type_url: &str, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        match type_url {
            type_url::HTTP_ROUTE => self.set_route(name, body),
            type_url::TRAFFIC_POLICY => {
                let raw = pb::TrafficPolicy::decode(body)?;
                self.traffic
                    .insert(name.to_owned(), Arc::new(TrafficPolicy::decode(&raw)?));
                self.raw.traffic.insert(name.to_owned(), body.into());
                Ok(())
            }
            type_url::FAULT_POLICY => {
                let raw = pb::FaultPolicy::decode(body)?;
                self.faults
                    .insert(name.to_owned(), Arc::new(FaultPolicy::decode(&raw)?));
                self.raw.faults.insert(name.to_owned(), body.into());
                Ok(())
            }
            other => Err(ResourceError::UnknownType(other.to_owned())),
        }
    }

    fn set_route(&mut self, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        let Decoded { route, errors } = Route::decode(&pb::HttpRoute::decode(body)?)?;
        let error = errors.into_iter().next();
        if error.is_none() || !self.routes.contains_key(name) {
            self.routes.insert(name.to_owned(), Arc::new(route));
            self.raw.routes.insert(name.to_owned(), body.into());
        }
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Forgets a resource that was explicitly removed.
    pub fn remove(&mut self, type_url: &str, name: &str) {
        match type_url {
            type_url::HTTP_ROUTE => {
                self.routes.remove(name);
                self.raw.routes.remove(name);
            }
            type_url::TRAFFIC_POLICY => {
                self.traffic.remove(name);
                self.raw.traffic.remove(name);
            }
            type_url::FAULT_POLICY => {
                self.faults.remove(name);
                self.raw.faults.remove(name);
            }
            _ => {}
        }
    }

    /// Publishes what is known now.
    pub fn publish(&mut self) {
        let routes = build(&self.routes, &self.traffic, &self.faults, &mut self.carried);
        self.published.store(Arc::new(routes));
    }

    /// The routes that serve, as they came.
    pub fn raw_routes(&self) -> impl Iterator<Item = pb::HttpRoute> {
        decoded(&self.raw.routes)
    }

    /// The traffic policies that serve, as they came.
    pub fn raw_traffic(&self) -> impl Iterator<Item = pb::TrafficPolicy> {
        decoded(&self.raw.traffic)
    }

    /// The fault policies that serve, as they came.
    pub fn raw_faults(&self) -> impl Iterator<Item = pb::FaultPolicy> {
        decoded(&self.raw.faults)
    }
}

/// What is kept was decoded before.
fn decoded<T: prost::Message + Default>(
    raw: &BTreeMap<String, Box<[u8]>>,
) -> impl Iterator<Item = T> {
    raw.values().filter_map(|body| T::decode(&**body).ok())
}

#[cfg(test)]
mod tests;
