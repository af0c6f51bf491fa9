//! `AuthorizationPolicy`: who may connect to what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ipnet, Port, TargetRef, WorkloadSelector};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationPolicySpec {
    /// Which workloads enforce it.
    pub selector: Option<WorkloadSelector>,
    /// What the waypoint enforces it for, instead.
    pub target_refs: Vec<TargetRef>,
    /// What a match means.
    pub action: Action,
    /// Any must match.
    pub rules: Vec<Rule>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// The connection is permitted.
    #[default]
    Allow,
    /// The connection is denied.
    Deny,
}

/// Matches if `from`, `to` and `when` do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rule {
    /// Any must match; empty: every source.
    pub from: Vec<From>,
    /// Any must match; empty: every operation.
    pub to: Vec<To>,
    /// All must match.
    pub when: Vec<Condition>,
}

/// An element of `from`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct From {
    /// Who connects.
    pub source: Source,
}

/// An element of `to`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct To {
    /// What is asked for.
    pub operation: Operation,
}

/// Who connects: every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// SPIFFE names without `spiffe://`.
    pub principals: Vec<String>,
    /// None of these.
    pub not_principals: Vec<String>,
    /// Of the identity.
    pub namespaces: Vec<String>,
    /// None of these.
    pub not_namespaces: Vec<String>,
    /// `NAME` of this namespace or `NAMESPACE/NAME`.
    pub service_accounts: Vec<String>,
    /// None of these.
    pub not_service_accounts: Vec<String>,
    /// Of the peer.
    pub ip_blocks: Vec<Ipnet>,
    /// None of these.
    pub not_ip_blocks: Vec<Ipnet>,
    /// Of HTTP.
    pub remote_ip_blocks: Vec<String>,
    /// Of HTTP.
    pub not_remote_ip_blocks: Vec<String>,
    /// Of HTTP.
    pub request_principals: Vec<String>,
    /// Of HTTP.
    pub not_request_principals: Vec<String>,
}

impl Source {
    /// Whether a field is set that only an HTTP proxy can evaluate.
    #[must_use]
    pub fn needs_http(&self) -> bool {
        let fields = [
            &self.remote_ip_blocks,
            &self.not_remote_ip_blocks,
            &self.request_principals,
            &self.not_request_principals,
        ];
        fields.iter().any(|field| !field.is_empty())
    }
}

/// What is asked for: every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// The pod's own.
    pub ports: Vec<Port>,
    /// None of these.
    pub not_ports: Vec<Port>,
    /// Of HTTP.
    pub hosts: Vec<String>,
    /// Of HTTP.
    pub not_hosts: Vec<String>,
    /// Of HTTP.
    pub methods: Vec<String>,
    /// Of HTTP.
    pub not_methods: Vec<String>,
    /// Of HTTP.
    pub paths: Vec<String>,
    /// Of HTTP.
    pub not_paths: Vec<String>,
}

impl Operation {
    /// Whether a field is set that only an HTTP proxy can evaluate.
    #[must_use]
    pub fn needs_http(&self) -> bool {
        let fields = [
            &self.hosts,
            &self.not_hosts,
            &self.methods,
            &self.not_methods,
            &self.paths,
            &self.not_paths,
        ];
        fields.iter().any(|field| !field.is_empty())
    }
}

/// A condition on one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The attribute's name.
    pub key: String,
    /// Any must match.
    #[serde(default)]
    pub values: Vec<String>,
    /// None may match.
    #[serde(default)]
    pub not_values: Vec<String>,
}
