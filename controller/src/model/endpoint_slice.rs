//! Endpoints of a service that someone else keeps.

use std::net::IpAddr;

use serde::Serialize;

/// What counts of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EndpointSlice {
    /// Of which service, in the same namespace.
    pub service: String,
    /// TCP ports by the name of the service's port.
    pub ports: Vec<(String, u16)>,
    /// Those that take traffic.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The pod that it is, in the same namespace.
    pub pod: Option<String>,
}
