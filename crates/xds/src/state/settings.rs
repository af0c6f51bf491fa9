//! Mesh-wide settings and roots of trust.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_identity::TrustBundle;
use ipnet::IpNet;
use serde::Serialize;

/// What the data plane needs to know of the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The trust domain of workloads that name none.
    pub trust_domain: Arc<str>,
    /// The cluster's name.
    pub cluster_id: Arc<str>,
    /// Policies of this namespace apply to the whole mesh.
    pub root_namespace: Arc<str>,
    /// Ranges in which an address that nobody knows is refused instead of passed through.
    pub cluster_cidrs: Vec<IpNet>,
    /// The DNS suffix of services, for example `cluster.local`.
    pub cluster_domain: Arc<str>,
    /// What is not TCP is refused by pods under STRICT.
    pub refuse_udp_when_strict: bool,
    /// Bytes between two pods of one node may stay in its ztunnel, see [`Settings::in_process`].
    pub same_node_in_process: bool,
    /// Namespaces with a NetworkPolicy, in order.
    pub network_policy_namespaces: Vec<Arc<str>>,
    /// Outside of the mesh, workloads reach only what an EgressPolicy allows them.
    pub registry_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            cluster_id: "".into(),
            root_namespace: "culvert-system".into(),
            cluster_cidrs: Vec::new(),
            cluster_domain: "cluster.local".into(),
            refuse_udp_when_strict: false,
            same_node_in_process: false,
            network_policy_namespaces: Vec::new(),
            registry_only: false,
        }
    }
}

impl Settings {
    /// Whether an address lies in the cluster's ranges.
    #[must_use]
    pub fn in_cluster(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.cluster_cidrs.iter().any(|net| net.contains(&ip))
    }

    /// Whether bytes between a pod of namespace `a` and one of `b`, both on one node, may stay in its ztunnel: where a
    /// NetworkPolicy may select either, they take the network's way, on which it is enforced.
    #[must_use]
    pub fn in_process(&self, a: &str, b: &str) -> bool {
        let selected = |namespace: &str| {
            let names = &self.network_policy_namespaces;
            names
                .binary_search_by(|name| (**name).cmp(namespace))
                .is_ok()
        };
        self.same_node_in_process && !selected(a) && !selected(b)
    }
}

/// The certificates that every proxy trusts.
#[derive(Clone, Debug)]
pub struct TrustRoots {
    /// Whose they are.
    pub trust_domain: Arc<str>,
    /// PEM, one certificate an element, never empty.
    pub roots: Vec<String>,
    /// The same, parsed.
    pub bundle: TrustBundle,
}

impl PartialEq for TrustRoots {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.roots == other.roots
    }
}
