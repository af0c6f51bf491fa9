//! `TLSRoute` and `TCPRoute` of the Gateway API.

use serde::{Deserialize, Serialize};

use super::{BackendRef, ParentRef, Unused};

/// The `spec` of either.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamRouteSpec {
    /// What it is attached to.
    pub parent_refs: Vec<ParentRef>,
    /// Names that a client says in its TLS handshake; empty: every one. A TCPRoute has none.
    pub hostnames: Vec<String>,
    /// One.
    pub rules: Vec<StreamRule>,
    /// Not read.
    pub use_default_gateways: Unused,
}

/// Its rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamRule {
    /// For policies to name it.
    pub name: Option<String>,
    /// Where connections go.
    pub backend_refs: Vec<BackendRef>,
}
