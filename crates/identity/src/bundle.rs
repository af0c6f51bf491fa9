//! The trust bundle: the roots that peers' certificates must lead to, and the handle by which a change reaches whoever
//! built contexts from it.
//!
//! Invariant: a bundle holds at least one certificate. A text that doesn't parse never replaces a bundle that does.

use crate::x509;
use boring::x509::X509;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a text is no trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not a list of certificates in PEM.
    #[error("trust bundle: {0}")]
    Malformed(#[from] boring::error::ErrorStack),
    /// Nobody could be trusted.
    #[error("trust bundle: it holds no certificate")]
    Empty,
}

/// Parsed roots. Cheap to clone.
#[derive(Clone)]
pub struct TrustBundle {
    roots: Arc<[X509]>,
}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustBundle")
            .field("roots", &self.roots.len())
            .finish()
    }
}

impl TrustBundle {
    /// Parses PEM texts of one or more certificates each.
    pub fn from_pem<S: AsRef<str>>(texts: &[S]) -> Result<Self, BundleError> {
        Self::from_certificates(x509::from_pems(texts.iter().map(AsRef::as_ref))?)
    }

    pub(crate) fn from_certificates(roots: Vec<X509>) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        Ok(Self {
            roots: roots.into(),
        })
    }

    pub(crate) fn roots(&self) -> &[X509] {
        &self.roots
    }
}

/// Publishes the mesh's trust bundle.
#[derive(Debug)]
pub struct TrustSender(watch::Sender<Option<TrustBundle>>);

/// Follows the mesh's trust bundle. Until one is published, the roots that the authority sent with a certificate count.
#[derive(Debug, Clone)]
pub struct TrustHandle(watch::Receiver<Option<TrustBundle>>);

/// A connected sender and handle.
#[must_use]
pub fn channel() -> (TrustSender, TrustHandle) {
    let (tx, rx) = watch::channel(None);
    (TrustSender(tx), TrustHandle(rx))
}

impl TrustSender {
    /// Publishes `bundle`; contexts are built anew from it.
    pub fn publish(&self, bundle: TrustBundle) {
        self.0.send_replace(Some(bundle));
    }
}

impl TrustHandle {
    pub(crate) fn current(&mut self) -> Option<TrustBundle> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for another bundle; for ever when its sender is gone.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_bundle() {
        assert!(matches!(
            TrustBundle::from_pem::<&str>(&[]),
            Err(BundleError::Empty)
        ));
        assert!(matches!(
            TrustBundle::from_pem(&["no certificate"]),
            Err(BundleError::Empty)
        ));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            TrustBundle::from_pem(&[broken]),
            Err(BundleError::Malformed(_))
        ));
    }
}
