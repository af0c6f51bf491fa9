//! `XBackendTrafficPolicy` of the Gateway API's experimental group: how requests to a backend are tried again, and how its
//! sessions are kept.

use serde::{Deserialize, Serialize};

use super::{RetryConstraint, SessionPersistence, TargetRef};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTrafficPolicySpec {
    /// Backends. Those that are no Services are somebody else's matter.
    pub target_refs: Vec<TargetRef>,
    /// How many retries there may be in all.
    pub retry_constraint: Option<RetryConstraint>,
    /// Where its sessions are, where a route's rule does not say.
    pub session_persistence: Option<SessionPersistence>,
}
