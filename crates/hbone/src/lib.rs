//! HBONE: TCP connections as streams of HTTP/2 CONNECT over mutual TLS.
//!
//! Invariants: a stream exists only between two identities that proved themselves to each other; what headers say is
//! telemetry; every connection, handshake, request and idle wait has a deadline; an idle stream owns no buffer.

mod authority;
mod buffer;
pub mod client;
mod config;
pub mod copy;
mod driver;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod headers;
mod io;
mod keepalive;
mod pool;
mod refusal;
pub mod server;
mod shared;
mod socket;
mod stream;

pub use authority::{Authority, AuthorityError};
pub use client::{ConnectRequest, Tunnel};
pub use config::TunnelConfig;
pub use error::{ClientError, ConnectError, ServerError};
pub use headers::{ConnectHeaders, ResponseHeaders};
pub use pool::{Pool, PoolKey, PoolStats};
pub use server::Incoming;
pub use stream::TunnelStream;
