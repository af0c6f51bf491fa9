//! A pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

/// What counts of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pod {
    /// Where it runs; empty: nowhere yet.
    pub node: Arc<str>,
    /// Its identity.
    pub service_account: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// It shares its node's network.
    pub host_network: bool,
    /// Path of its network namespace.
    pub netns: String,
    /// All its containers have ended for good.
    pub ended: bool,
    /// A replica of the controller was told that it is captured, and wrote it down.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub captured: bool,
    /// It takes traffic.
    pub ready: bool,
    /// What made it.
    pub owner: Option<Owner>,
    /// TCP ports of its containers that have a name.
    pub ports: BTreeMap<String, u16>,
    /// Exclusions from capture.
    pub capture: CaptureOptions,
}

/// What made a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Owner {
    /// `ReplicaSet`, `Job`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Exclusions from capture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureOptions {
    /// Ports of the pod.
    pub exclude_inbound_ports: Vec<u16>,
    /// Ports of others.
    pub exclude_outbound_ports: Vec<u16>,
    /// Addresses of others.
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// DNS questions are captured.
    pub dns: bool,
}

impl CaptureOptions {
    /// Whether any traffic is kept out of the mesh.
    #[must_use]
    pub fn excludes(&self) -> bool {
        *self != Self::default()
    }
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            exclude_inbound_ports: Vec::new(),
            exclude_outbound_ports: Vec::new(),
            exclude_outbound_cidrs: Vec::new(),
            dns: true,
        }
    }
}
