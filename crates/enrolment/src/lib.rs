//! Whether a pod's traffic belongs in the mesh, and which of it is captured. One answer for the controller, the agent
//! and the CNI plugin, so that none of them serves, captures or holds a pod that another takes for an outsider.
//!
//! Invariants: pure; what a pod says of itself can keep it out of the mesh or, where MeshConfig lets it, narrow its own
//! capture, and nothing else; what cannot be understood captures more, never less.

pub mod foreign;
pub mod keys;
mod options;

use std::collections::BTreeMap;
use std::fmt;

pub use foreign::Mesh;
pub use options::{CaptureOptions, Mistake, OWN_PORTS, options};

/// The namespace that the mesh's own parts run in.
pub const SYSTEM_NAMESPACE: &str = "culvert-system";
/// The class of Gateways that are waypoints.
pub const WAYPOINT_CLASS: &str = "culvert-waypoint";
/// The class of Gateways that take connections from outside the mesh.
pub const GATEWAY_CLASS: &str = "culvert";

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// What decides over a pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its namespace's label [`keys::DATAPLANE_MODE`].
    pub namespace_mode: Option<&'a str>,
    /// Its own label [`keys::DATAPLANE_MODE`].
    pub mode: Option<&'a str>,
    /// Its own label [`keys::GATEWAY_CLASS`].
    pub gateway_class: Option<&'a str>,
    /// The mesh whose mark it carries, see [`foreign::mark`].
    pub foreign: Option<Mesh>,
    /// It shares its node's network.
    pub host_network: bool,
    /// All its containers have ended for good.
    pub ended: bool,
}

/// Why a pod is not in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Neither it nor its namespace asks for it, or it asks not to be.
    NotAsked,
    /// It is one of the mesh's own parts.
    System,
    /// It is a waypoint, to which traffic is sent.
    Waypoint,
    /// It is a gateway, which speaks for itself.
    Gateway,
    /// It shares its node's network.
    HostNetwork,
    /// It has ended.
    Ended,
    /// Another mesh has it.
    Foreign(Mesh),
}

/// Whether the pod's traffic belongs in the mesh; otherwise why not.
pub fn decide(pod: &Pod<'_>) -> Result<(), Outside> {
    match pod.foreign {
        _ if pod.mode.or(pod.namespace_mode) != Some("ambient") => Err(Outside::NotAsked),
        _ if pod.namespace == SYSTEM_NAMESPACE => Err(Outside::System),
        _ if pod.gateway_class == Some(WAYPOINT_CLASS) => Err(Outside::Waypoint),
        _ if pod.gateway_class == Some(GATEWAY_CLASS) => Err(Outside::Gateway),
        _ if pod.host_network => Err(Outside::HostNetwork),
        _ if pod.ended => Err(Outside::Ended),
        Some(mesh) => Err(Outside::Foreign(mesh)),
        None => Ok(()),
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("neither it nor its namespace asks for it"),
            Self::System => f.write_str("it is part of the mesh itself"),
            Self::Waypoint => f.write_str("it is a waypoint"),
            Self::Gateway => f.write_str("it is a gateway"),
            Self::HostNetwork => f.write_str("it shares its node's network"),
            Self::Ended => f.write_str("it has ended"),
            Self::Foreign(mesh) => write!(f, "{mesh} has it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(
        namespace_mode: Option<&str>,
        mode: Option<&str>,
        change: impl Fn(&mut Pod<'_>),
    ) -> Result<(), Outside> {
        let mut pod = Pod {
            namespace: "demo",
            namespace_mode,
            mode,
            gateway_class: None,
            foreign: None,
            host_network: false,
            ended: false,
        };
        change(&mut pod);
        decide(&pod)
    }

    const AMBIENT: Option<&str> = Some("ambient");
    const NONE: Option<&str> = Some("none");

    #[test]
    fn the_pods_word_counts_before_the_namespaces() {
        for (namespace, pod, expected) in [
            (None, None, Err(Outside::NotAsked)),
            (AMBIENT, None, Ok(())),
            (AMBIENT, NONE, Err(Outside::NotAsked)),
            (NONE, AMBIENT, Ok(())),
            (None, AMBIENT, Ok(())),
            (Some("Ambient"), None, Err(Outside::NotAsked)),
        ] {
            assert_eq!(
                decided(namespace, pod, |_| ()),
                expected,
                "{namespace:?} {pod:?}"
            );
        }
    }

    #[test]
    fn some_never_are_whatever_they_ask() {
        type Change = fn(&mut Pod<'_>);
        let changes: [(Change, Outside); 6] = [
            (|pod| pod.namespace = SYSTEM_NAMESPACE, Outside::System),
            (
                |pod| pod.gateway_class = Some(WAYPOINT_CLASS),
                Outside::Waypoint,
            ),
            (
                |pod| pod.gateway_class = Some(GATEWAY_CLASS),
                Outside::Gateway,
            ),
            (|pod| pod.host_network = true, Outside::HostNetwork),
            (|pod| pod.ended = true, Outside::Ended),
            (
                |pod| pod.foreign = Some(Mesh::Linkerd),
                Outside::Foreign(Mesh::Linkerd),
            ),
        ];
        for (change, expected) in changes {
            assert_eq!(decided(AMBIENT, AMBIENT, change), Err(expected));
        }
        let ingress = |pod: &mut Pod<'_>| pod.gateway_class = Some("nginx");
        assert_eq!(decided(AMBIENT, None, ingress), Ok(()));
    }

    #[test]
    fn a_namespace_of_the_cluster_itself_may_join() {
        let system = |pod: &mut Pod<'_>| pod.namespace = "kube-system";
        assert_eq!(decided(AMBIENT, None, system), Ok(()));
    }
}
