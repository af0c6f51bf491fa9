//! The way to a Kubernetes API server: one client, over hyper and BoringSSL, for every program that needs it.
//!
//! Invariant: the server proves itself by the cluster's root before a token leaves. Whatever rotates (root, client
//! certificate, token) is read again from its file, so that a client serves as long as its process runs.

mod connect;
mod error;
mod tls;

pub use connect::{Access, connect};
pub use error::ConnectError;

#[cfg(test)]
mod tests;
