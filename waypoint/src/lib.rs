//! The waypoint: the layer 7 proxy of a namespace, which node proxies reach over HBONE and which reaches backends over
//! HBONE. It also serves the listeners of a Gateway to clients outside the mesh, see [`gateway`].
//!
//! Invariants: a request's way is a row of named steps, see [`http`]; configuration is immutable and swapped whole, see
//! [`routes`]; a core shares nothing with another one on the way of a byte.

pub mod app;
pub mod args;
pub mod client;
pub mod config;
mod control;
pub mod cores;
pub mod destination;
mod executor;
pub mod framing;
pub mod gateway;
pub mod http;
pub mod inbound;
pub mod path;
pub mod permit;
pub mod relay;
pub mod routes;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod world;
