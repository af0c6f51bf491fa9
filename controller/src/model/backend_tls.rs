//! TLS to backends, as a BackendTLSPolicy asks for it.

use serde::Serialize;

use crate::api::{BackendTlsValidation, PolicyTarget};

/// What counts of such a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendTls {
    /// What it is for.
    pub targets: Vec<PolicyTarget>,
    /// Whom to expect there, or why that cannot be told. What it is for is then not reached, so a policy that is wrong is
    /// not rejected as other objects are: its targets would be spoken to in plain text.
    pub validation: Result<BackendTlsValidation, String>,
}
