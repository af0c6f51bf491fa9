//! Certificates of authorities, as a ConfigMap has them in `ca.crt`.

use std::sync::Arc;

use serde::Serialize;

/// What counts of such a ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaBundle {
    /// PEM with a certificate at least, or what is wrong with it. Unlike a listener's certificate nothing that was good
    /// before stays: who takes an authority away trusts it no more.
    pub certificates: Result<Arc<str>, String>,
}
