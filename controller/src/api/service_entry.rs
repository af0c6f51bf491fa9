//! `ServiceEntry`: a service outside of Kubernetes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Port;

/// `spec` of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Names by which clients address it, in full.
    pub hosts: Vec<String>,
    /// Addresses by which clients address it; left out: each host is given one.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What it listens at.
    pub ports: Vec<EntryPort>,
    /// Where it is.
    #[serde(default)]
    pub location: Location,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// Where it is reached; left out with `DNS`: at its hosts.
    #[serde(default)]
    pub endpoints: Vec<EntryEndpoint>,
    /// Who knows it: `.` for its own namespace, which is what is meant if it is left out, `*` for all.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// What it listens at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryPort {
    /// What clients dial.
    pub number: Port,
    /// Unique in the entry.
    pub name: String,
    /// What is spoken there: `HTTP`, `HTTPS`, `HTTP2`, `GRPC`, `TCP`, `TLS`. Ignored beside `appProtocol`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// What is spoken there, as a Service says it.
    #[serde(default)]
    pub app_protocol: Option<String>,
    /// What is dialled at endpoints; left out: the same.
    #[serde(default)]
    pub target_port: Option<Port>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside of the mesh.
    #[default]
    MeshExternal,
    /// In the mesh. Not supported: nobody outside of Kubernetes has an identity of the mesh.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// They are addresses.
    Static,
    /// They are names, which whoever dials resolves.
    Dns,
    /// Not supported: write the addresses as endpoints of `STATIC`.
    None,
}

/// Where it is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryEndpoint {
    /// An address or, with `DNS`, a name.
    pub address: String,
    /// Ports that differ from the entry's, by the entry's port's name.
    #[serde(default)]
    pub ports: BTreeMap<String, Port>,
    /// REGION, REGION/ZONE or REGION/ZONE/SUBZONE.
    #[serde(default)]
    pub locality: Option<String>,
    /// Its share; left out: 1. Zero takes nothing.
    #[serde(default)]
    pub weight: Option<u32>,
}
