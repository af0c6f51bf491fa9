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
    /// What ServiceEntries may do.
    pub service_entries: ServiceEntries,
    /// What workloads may reach outside of the mesh without an EgressPolicy.
    pub outbound_traffic: OutboundTraffic,
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
            service_entries: ServiceEntries::default(),
            outbound_traffic: OutboundTraffic::AllowAny,
        }
    }
}

/// What ServiceEntries may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntries {
    /// Namespaces besides the root namespace whose entries the whole mesh may know, if they ask for it; `*` for every one.
    pub export_from: Vec<String>,
    /// Where addresses come from for hosts that have none: one range at most of each family. What lies in them nobody in
    /// or outside of the cluster may have.
    #[serde(rename = "addressRanges")]
    pub address_ranges: Vec<Ipnet>,
}

/// Of IPv4 one of those that are set aside for nobody, of IPv6 one of those set aside for tests of benchmarks.
const RANGES: [&str; 2] = ["240.240.0.0/16", "2001:2::/48"];

impl Default for ServiceEntries {
    fn default() -> Self {
        Self {
            export_from: Vec::new(),
            address_ranges: RANGES
                .iter()
                .filter_map(|range| range.parse().ok())
                .collect(),
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

/// What workloads may reach outside of the mesh without an EgressPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutboundTraffic {
    /// Everything.
    AllowAny,
    /// Nothing: only what the mesh knows, services and workloads.
    RegistryOnly,
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
