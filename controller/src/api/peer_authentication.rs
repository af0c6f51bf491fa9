//! `PeerAuthentication`: whether a workload takes plaintext.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Port, WorkloadSelector};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthenticationSpec {
    /// Which workloads; none means the namespace's, or the mesh's in the root namespace.
    pub selector: Option<WorkloadSelector>,
    /// For all ports.
    pub mtls: MutualTls,
    /// For single ports, instead.
    #[serde(deserialize_with = "ports")]
    pub port_level_mtls: BTreeMap<u16, MutualTls>,
}

/// One word on mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MutualTls {
    /// What is taken.
    pub mode: Mode,
}

/// What is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// As the next wider object says.
    #[default]
    Unset,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl Mode {
    /// This word, or the wider one where this is none.
    #[must_use]
    pub fn or(self, wider: Self) -> Self {
        if self == Self::Unset { wider } else { self }
    }
}

fn ports<'de, D>(deserializer: D) -> Result<BTreeMap<u16, MutualTls>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let map = BTreeMap::<PortKey, MutualTls>::deserialize(deserializer)?;
    Ok(map
        .into_iter()
        .map(|(PortKey(port), tls)| (port, tls))
        .collect())
}

/// Keys of mappings are text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PortKey(u16);

impl<'de> Deserialize<'de> for PortKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let port: Port = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(port.get()))
    }
}
