//! `MeshConfig`: settings of the whole mesh, in one object named `default`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Ipnet};

/// Its `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfigSpec {
    /// First part of every identity.
    pub trust_domain: String,
    /// Names this cluster in workload uids and telemetry.
    #[serde(rename = "clusterID")]
    pub cluster_id: String,
    /// Suffix of service names.
    pub cluster_domain: String,
    /// Policies in this namespace hold for the mesh.
    pub root_namespace: String,
    /// Ranges in which an unknown address is refused.
    #[serde(rename = "clusterCIDRs")]
    pub cluster_cidrs: Vec<Ipnet>,
    /// Longest lifetime of a workload's certificate.
    #[serde(rename = "certificateTTL")]
    pub certificate_ttl: Duration,
    /// Whether pods may keep ports and ranges out of the mesh by annotation.
    pub capture_exclusions: CaptureExclusions,
    /// UDP is refused where plaintext is.
    #[serde(rename = "refuseUDPWhenStrict")]
    pub refuse_udp_when_strict: bool,
    /// How bytes go between two pods of one node.
    pub same_node: SameNode,
    /// To whom the hosts of Ingresses belong.
    pub ingress_host_ownership: HostOwnership,
}

impl Default for MeshConfigSpec {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            cluster_id: "Kubernetes".into(),
            cluster_domain: "cluster.local".into(),
            root_namespace: "culvert-system".into(),
            cluster_cidrs: Vec::new(),
            certificate_ttl: Duration::from_secs(24 * 3600),
            capture_exclusions: CaptureExclusions::Allowed,
            refuse_udp_when_strict: false,
            same_node: SameNode::Hbone,
            ingress_host_ownership: HostOwnership::Namespace,
        }
    }
}

/// How bytes go between two pods of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SameNode {
    /// Encrypted, as between nodes.
    Hbone,
    /// Within the node's ztunnel, unless a namespace of theirs has a NetworkPolicy.
    InProcess,
}

/// Whether annotations that exclude traffic from capture count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaptureExclusions {
    /// They count.
    Allowed,
    /// They are ignored.
    Forbidden,
}

/// To whom the hosts of Ingresses belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostOwnership {
    /// To the namespace that has an Ingress for it first.
    Namespace,
    /// To all that have one: of two that have the same path the older one counts.
    Shared,
}
