//! A pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use culvert_enrolment::CaptureOptions;
use culvert_enrolment::Mesh;
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
    /// It has the condition of capture, whatever that says.
    pub capture_told: bool,
    /// It takes traffic.
    pub ready: bool,
    /// What made it.
    pub owner: Option<Owner>,
    /// TCP ports of its containers that have a name.
    pub ports: BTreeMap<String, u16>,
    /// Another mesh has it.
    #[serde(skip)]
    pub foreign: Option<Mesh>,
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
