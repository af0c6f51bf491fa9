//! One TCPRoute or TLSRoute.
//!
//! Invariant: as for HTTP, a route that can't be served whole refuses what it matches; it never lets it through.

use std::sync::Arc;

use culvert_proto::waypoint as pb;

use super::gateway::Attachment;
use super::route::{Backend, Hostname};
use super::{ConfigError, ServiceRef, decode_all};

/// A route of whole connections.
#[derive(Debug)]
pub struct StreamRoute {
    /// `KIND/NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// RFC 3339 creation time in UTC, which sorts as text.
    pub created: String,
    /// Services that it is attached to.
    pub parents: Vec<ServiceRef>,
    /// Listeners that it is attached to.
    pub listeners: Vec<Attachment>,
    /// For connections that begin with TLS, by the server name in it.
    pub tls: bool,
    /// For `parents`; empty means every name.
    pub hostnames: Vec<Hostname>,
    /// Where connections go.
    pub backends: Vec<Backend>,
}

impl StreamRoute {
    /// Decodes a route, and says what is wrong with its backends: connections that fall to it are then refused. Wrong
    /// parents or hosts are an error of the whole.
    pub fn decode(raw: &pb::StreamRoute) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let kind = if raw.tls { "TLSRoute" } else { "TCPRoute" };
        let decoded = decode_all("backends", &raw.backends, |backend| {
            if backend.filters.is_empty() {
                return Backend::decode(backend);
            }
            Err(ConfigError::new("filters", "a connection has none"))
        });
        let (backends, error) = match decoded {
            Ok(backends) => (backends, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let route = Self {
            name: format!("{kind}/{}/{}", raw.namespace, raw.name).into(),
            created: raw.created.clone(),
            parents: decode_all("parents", &raw.parents, ServiceRef::decode)?,
            listeners: decode_all("listeners", &raw.listeners, Attachment::decode)?,
            tls: raw.tls,
            hostnames: decode_all("hostnames", &raw.hostnames, |name| Hostname::decode(name))?,
            backends,
        };
        Ok((route, error))
    }
}
