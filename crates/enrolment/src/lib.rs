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

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// What decides over a pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its namespace's labels.
    pub namespace_labels: &'a Map,
    /// Its own labels.
    pub labels: &'a Map,
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
    /// It shares its node's network.
    HostNetwork,
    /// It has ended.
    Ended,
    /// Another mesh has it.
    Foreign(Mesh),
}

/// Whether the pod's traffic belongs in the mesh; otherwise why not.
pub fn decide(pod: &Pod<'_>) -> Result<(), Outside> {
    let own = pod.labels.get(keys::DATAPLANE_MODE);
    let mode = own.or_else(|| pod.namespace_labels.get(keys::DATAPLANE_MODE));
    let is_waypoint =
        pod.labels.get(keys::GATEWAY_CLASS).map(String::as_str) == Some(WAYPOINT_CLASS);
    match pod.foreign {
        _ if mode.map(String::as_str) != Some("ambient") => Err(Outside::NotAsked),
        _ if pod.namespace == SYSTEM_NAMESPACE => Err(Outside::System),
        _ if is_waypoint => Err(Outside::Waypoint),
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
            Self::HostNetwork => f.write_str("it shares its node's network"),
            Self::Ended => f.write_str("it has ended"),
            Self::Foreign(mesh) => write!(f, "{mesh} has it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Map {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn decided(
        namespace: &[(&str, &str)],
        pod: &[(&str, &str)],
        change: impl Fn(&mut Pod<'_>),
    ) -> Result<(), Outside> {
        let (namespace_labels, labels) = (map(namespace), map(pod));
        let mut pod = Pod {
            namespace: "demo",
            namespace_labels: &namespace_labels,
            labels: &labels,
            foreign: None,
            host_network: false,
            ended: false,
        };
        change(&mut pod);
        decide(&pod)
    }

    const AMBIENT: &[(&str, &str)] = &[(keys::DATAPLANE_MODE, "ambient")];
    const NONE: &[(&str, &str)] = &[(keys::DATAPLANE_MODE, "none")];

    #[test]
    fn the_pods_word_counts_before_the_namespaces() {
        for (namespace, pod, expected) in [
            (&[] as &[_], &[] as &[_], Err(Outside::NotAsked)),
            (AMBIENT, &[], Ok(())),
            (AMBIENT, NONE, Err(Outside::NotAsked)),
            (NONE, AMBIENT, Ok(())),
            (&[], AMBIENT, Ok(())),
            (
                &[(keys::DATAPLANE_MODE, "Ambient")],
                &[],
                Err(Outside::NotAsked),
            ),
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
        let changes: [(Change, Outside); 4] = [
            (|pod| pod.namespace = SYSTEM_NAMESPACE, Outside::System),
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
        let waypoint = [AMBIENT, &[(keys::GATEWAY_CLASS, WAYPOINT_CLASS)]].concat();
        assert_eq!(decided(AMBIENT, &waypoint, |_| ()), Err(Outside::Waypoint));
        let ingress = [(keys::GATEWAY_CLASS, "nginx")];
        assert_eq!(decided(AMBIENT, &ingress, |_| ()), Ok(()));
    }

    #[test]
    fn a_namespace_of_the_cluster_itself_may_join() {
        assert_eq!(
            decided(AMBIENT, &[], |pod| pod.namespace = "kube-system"),
            Ok(())
        );
    }
}
