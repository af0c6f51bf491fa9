//! Takes resources as they come and publishes a snapshot after each batch.
//!
//! Invariant: a resource that is wrong never disappears. The last good one keeps serving; if there was none, a route
//! answers 500 where it would have matched, and the resource is reported as rejected either way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use culvert_proto::{type_url, waypoint as pb};
use prost::Message as _;

use tokio::sync::watch;

use super::{Carried, Resources, Routes, build};
use crate::config::ConfigError;
use crate::config::backend_tls::BackendTlsPolicy;
use crate::config::certificate::Certificate;
use crate::config::fault::FaultPolicy;
use crate::config::gateway::Gateway;
use crate::config::locality::Locality;
use crate::config::route::{Decoded, Route};
use crate::config::stream::StreamRoute;
use crate::config::traffic::TrafficPolicy;

/// The published snapshot; cheap to read, never blocks.
pub type Shared = Arc<ArcSwap<Routes>>;

/// Tells of changes of this process's own Gateway, after the snapshot that holds them was published.
pub type OwnGateway = watch::Receiver<Option<Arc<Gateway>>>;

/// The resources behind the snapshot.
#[derive(Debug, Default)]
pub struct RouteStore {
    resources: Resources,
    /// As they came, for dumps. Only what serves is here, and no certificate: their keys are not kept.
    raw: Raw,
    carried: Carried,
    published: Shared,
    gateway: watch::Sender<Option<Arc<Gateway>>>,
}

#[derive(Debug, Default)]
struct Raw {
    routes: BTreeMap<String, Box<[u8]>>,
    streams: BTreeMap<String, Box<[u8]>>,
    gateways: BTreeMap<String, Box<[u8]>>,
    backend_tls: BTreeMap<String, Box<[u8]>>,
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

    /// Tells of changes of this process's own Gateway.
    pub fn gateway(&self) -> OwnGateway {
        self.gateway.subscribe()
    }

    /// The types that belong here.
    pub const TYPES: &[&str] = &[
        type_url::HTTP_ROUTE,
        type_url::STREAM_ROUTE,
        type_url::GATEWAY,
        type_url::CERTIFICATE,
        type_url::BACKEND_TLS_POLICY,
        type_url::TRAFFIC_POLICY,
        type_url::FAULT_POLICY,
    ];

    /// Whether resources of this type belong here.
    pub fn takes(type_url: &str) -> bool {
        Self::TYPES.contains(&type_url)
    }

    /// Takes one resource; the snapshot changes with the next [`RouteStore::publish`].
    pub fn set(&mut self, type_url: &str, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        let (resources, raw) = (&mut self.resources, &mut self.raw);
        match type_url {
            type_url::HTTP_ROUTE => self.set_route(name, body),
            type_url::STREAM_ROUTE => self.set_stream(name, body),
            type_url::GATEWAY => {
                let gateway = Gateway::decode(&pb::Gateway::decode(body)?)?;
                put(
                    &mut resources.gateways,
                    &mut raw.gateways,
                    name,
                    gateway,
                    body,
                );
                Ok(())
            }
            type_url::CERTIFICATE => {
                let certificate = Certificate::decode(&pb::Certificate::decode(body)?)?;
                let certificates = &mut resources.certificates;
                certificates.insert(name.to_owned(), Arc::new(certificate));
                Ok(())
            }
            type_url::BACKEND_TLS_POLICY => self.set_backend_tls(name, body),
            type_url::TRAFFIC_POLICY => {
                let policy = TrafficPolicy::decode(&pb::TrafficPolicy::decode(body)?)?;
                put(&mut resources.traffic, &mut raw.traffic, name, policy, body);
                Ok(())
            }
            type_url::FAULT_POLICY => {
                let known = resources.faults.get(name).map(Arc::as_ref);
                let policy = FaultPolicy::decode(&pb::FaultPolicy::decode(body)?)?.following(known);
                put(&mut resources.faults, &mut raw.faults, name, policy, body);
                Ok(())
            }
            other => Err(ResourceError::UnknownType(other.to_owned())),
        }
    }

    fn set_route(&mut self, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        let Decoded { route, errors } = Route::decode(&pb::HttpRoute::decode(body)?)?;
        let error = errors.into_iter().next();
        let routes = &mut self.resources.routes;
        if error.is_none() || !routes.contains_key(name) {
            put(routes, &mut self.raw.routes, name, route, body);
        }
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn set_stream(&mut self, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        let (route, error) = StreamRoute::decode(&pb::StreamRoute::decode(body)?)?;
        let streams = &mut self.resources.streams;
        if error.is_none() || !streams.contains_key(name) {
            put(streams, &mut self.raw.streams, name, route, body);
        }
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// A policy that is wrong replaces the last good one: whom that trusted may be trusted no more. One that is the same
    /// changes nothing, so that connections are kept.
    fn set_backend_tls(&mut self, name: &str, body: &[u8]) -> Result<(), ResourceError> {
        let raw = &mut self.raw.backend_tls;
        if raw.get(name).is_some_and(|known| **known == *body) {
            return Ok(());
        }
        let message = pb::BackendTlsPolicy::decode(body)?;
        let (policy, error) = BackendTlsPolicy::decode(&message)?;
        put(&mut self.resources.backend_tls, raw, name, policy, body);
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Forgets a resource that was explicitly removed.
    pub fn remove(&mut self, type_url: &str, name: &str) {
        let (resources, raw) = (&mut self.resources, &mut self.raw);
        match type_url {
            type_url::HTTP_ROUTE => forget(&mut resources.routes, &mut raw.routes, name),
            type_url::STREAM_ROUTE => forget(&mut resources.streams, &mut raw.streams, name),
            type_url::GATEWAY => forget(&mut resources.gateways, &mut raw.gateways, name),
            type_url::CERTIFICATE => drop(resources.certificates.remove(name)),
            type_url::BACKEND_TLS_POLICY => {
                forget(&mut resources.backend_tls, &mut raw.backend_tls, name);
            }
            type_url::TRAFFIC_POLICY => forget(&mut resources.traffic, &mut raw.traffic, name),
            type_url::FAULT_POLICY => forget(&mut resources.faults, &mut raw.faults, name),
            _ => {}
        }
    }

    /// Publishes what is known now.
    pub fn publish(&mut self) {
        let routes = build(&self.resources, &mut self.carried);
        let gateway = routes.gateway.as_ref();
        let gateway = gateway.map(|gateway| Arc::clone(&gateway.config));
        self.published.store(Arc::new(routes));
        self.gateway.send_if_modified(|known| {
            let same = known.as_ref().map(Arc::as_ptr) == gateway.as_ref().map(Arc::as_ptr);
            *known = gateway;
            !same
        });
    }

    /// The certificates that serve, by name.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, &Certificate)> {
        let certificates = self.resources.certificates.iter();
        certificates.map(|(name, certificate)| (name.as_str(), &**certificate))
    }

    /// This process's own Gateway that serves, as it came.
    pub fn raw_gateways(&self) -> impl Iterator<Item = pb::Gateway> {
        decoded(&self.raw.gateways)
    }

    /// The routes of connections that serve, as they came.
    pub fn raw_streams(&self) -> impl Iterator<Item = pb::StreamRoute> {
        decoded(&self.raw.streams)
    }

    /// Endpoints that are left out or have less than their share, for people.
    pub fn endpoints(&self) -> Vec<serde_json::Value> {
        let routes = self.published.load_full();
        self.carried.registry.view(|of| {
            let config = routes.port(&of.service, of.port)?;
            config.direct.resilience.clone()
        })
    }

    /// What a policy says of who is near among the endpoints of a port of a service.
    pub fn locality(&self, service: &str, port: u16) -> Option<Locality> {
        let routes = self.published.load();
        let resilience = routes.port(service, port)?.direct.resilience.as_ref()?;
        resilience.locality.clone()
    }

    /// The routes that serve, as they came.
    pub fn raw_routes(&self) -> impl Iterator<Item = pb::HttpRoute> {
        decoded(&self.raw.routes)
    }

    /// The policies of TLS to backends that serve, as they came.
    pub fn raw_backend_tls(&self) -> impl Iterator<Item = pb::BackendTlsPolicy> {
        decoded(&self.raw.backend_tls)
    }

    /// The traffic policies that serve, as they came.
    pub fn raw_traffic(&self) -> impl Iterator<Item = pb::TrafficPolicy> {
        decoded(&self.raw.traffic)
    }

    /// The fault policies that serve, as they came, and how much of its term each has left.
    pub fn raw_faults(&self) -> impl Iterator<Item = (pb::FaultPolicy, Option<Duration>)> {
        let left = self.resources.faults.values().map(|policy| policy.left());
        // Both are by name.
        decoded(&self.raw.faults).zip(left)
    }
}

fn put<T>(
    known: &mut BTreeMap<String, Arc<T>>,
    raw: &mut BTreeMap<String, Box<[u8]>>,
    name: &str,
    resource: T,
    body: &[u8],
) {
    known.insert(name.to_owned(), Arc::new(resource));
    raw.insert(name.to_owned(), body.into());
}

fn forget<T>(
    known: &mut BTreeMap<String, Arc<T>>,
    raw: &mut BTreeMap<String, Box<[u8]>>,
    name: &str,
) {
    known.remove(name);
    raw.remove(name);
}

/// What is kept was decoded before.
fn decoded<T: prost::Message + Default>(
    raw: &BTreeMap<String, Box<[u8]>>,
) -> impl Iterator<Item = T> {
    raw.values().filter_map(|body| T::decode(&**body).ok())
}

#[cfg(test)]
mod tests;
