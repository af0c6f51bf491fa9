//! Who a workload is, proved by mutual TLS: SPIFFE names, BoringSSL contexts, the certificate authority and its client,
//! rotation, trust bundles, join tokens, and the authenticated channel to the controller.
//!
//! Invariants: BoringSSL is the only cryptography; contexts are built once for each identity, generation and trust
//! bundle, never for a connection; no private key or token appears in a Debug text.

pub mod ca;
pub mod csr;
pub mod file;
mod spiffe;
pub mod token;
mod x509;

pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use x509::SanError;
