//! One identity as the proxy uses it: the certificate's facts and the TLS contexts made from it.
//!
//! Invariant: an [`Identity`] never changes. A renewed certificate or another trust bundle gives a new one with a higher
//! generation, so that who compares generations sees every change.

use crate::bundle::TrustBundle;
use crate::tls::{ClientContext, Credentials, ServerContext};
use crate::{SpiffeId, x509};
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::x509::X509;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// A workload's identity, ready for TLS.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is.
    pub id: SpiffeId,
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// Higher than that of every identity made before in this process.
    pub generation: u64,
    /// For connections to this workload.
    pub server: ServerContext,
    /// For connections of this workload.
    pub client: ClientContext,
}

impl Identity {
    pub(crate) fn new(
        id: &SpiffeId,
        key: &PKey<Private>,
        chain: &[X509],
        trust: &TrustBundle,
    ) -> Result<Self, ErrorStack> {
        let leaf = chain.first().ok_or_else(ErrorStack::get)?;
        let credentials = Credentials {
            id,
            key,
            chain,
            roots: trust.roots(),
        };
        Ok(Self {
            id: id.clone(),
            serial: x509::serial(leaf)?,
            not_before: x509::system_time(leaf.not_before())?,
            not_after: x509::system_time(leaf.not_after())?,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            server: ServerContext::new(&credentials)?,
            client: ClientContext::new(&credentials)?,
        })
    }

    /// Whether the certificate is within its validity by the wall clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let now = SystemTime::now();
        self.not_before <= now && now < self.not_after
    }
}
