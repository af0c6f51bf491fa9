//! Who a workload is, proved by mutual TLS: SPIFFE names, BoringSSL contexts, the certificate authority and its client,
//! rotation, trust bundles, join tokens, and the authenticated channel to the controller.
//!
//! Invariants: BoringSSL is the only cryptography; contexts are built once for each identity, generation and trust
//! bundle, never for a connection; no private key or token appears in a Debug text.

pub mod bundle;
pub mod ca;
pub mod controller;
pub mod csr;
pub mod file;
mod identity;
mod secrets;
pub mod server_tls;
mod source;
mod spiffe;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod token;
mod x509;

pub use bundle::TrustBundle;
pub use identity::Identity;
pub use secrets::{CertHandle, CertStatus, CertificateUnavailable, SecretManager, SecretOptions};
pub use source::{CaClient, CaError, CertificateSource, LocalSource};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use tls::{ClientContext, ServerContext, TlsError};
pub use x509::{SanError, system_time};
