//! `EgressPolicy`: what workloads may reach outside of the mesh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ipnet, Port, WorkloadSelector};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressPolicySpec {
    /// Which workloads it holds for; none means the namespace's, or the mesh's in the root namespace.
    pub selector: Option<WorkloadSelector>,
    /// What they may reach outside of the mesh: any must match; empty: nothing.
    pub egress: Vec<EgressRule>,
}

/// Matches if `to` and `ports` do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EgressRule {
    /// Any must match.
    pub to: Vec<EgressPeer>,
    /// Any must match; empty: every port.
    #[serde(default)]
    pub ports: Vec<EgressPort>,
}

/// Addresses or names: one of `cidr` and `host`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EgressPeer {
    /// These addresses.
    pub cidr: Option<Ipnet>,
    /// But none of these.
    pub except: Vec<Ipnet>,
    /// What a client names, and what that name resolves to: `api.example.com`, or `*.example.com` for every name below
    /// it.
    pub host: Option<String>,
}

/// A port, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressPort {
    /// The first.
    pub port: Port,
    /// The last; left out: the first alone.
    #[serde(default)]
    pub end_port: Option<Port>,
}
