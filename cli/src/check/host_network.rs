//! Pods of enrolled namespaces that share their node's network, and so stay outside the mesh.

use std::collections::BTreeSet;

use culvert_enrolment::Outside;

use super::facts::{Mesh, workload};
use super::finding::{Finding, Severity};

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let outside = mesh
        .concerned()
        .filter(|(_, it)| *it == Err(Outside::HostNetwork));
    let workloads: BTreeSet<_> = outside.map(|(pod, _)| workload(pod)).collect();
    let finding = |object| {
        Finding::new(
            Severity::Info,
            "host-network",
            object,
            "shares its node's network and stays outside the mesh: its traffic is as without it",
            "under STRICT, let it talk to ports that a PeerAuthentication makes PERMISSIVE, or give it a network of its own",
        )
    };
    workloads.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found, pod};

    #[test]
    fn only_those_of_the_mesh() {
        let mut facts = facts();
        for (namespace, name, host) in [
            ("meshed", "a", true),
            ("meshed", "b", false),
            ("plain", "c", true),
        ] {
            let mut pod = pod(namespace, name, &[]);
            pod.spec.as_mut().expect("a spec").host_network = Some(host);
            facts.pods.push(pod);
        }
        assert_eq!(
            found(&facts, None, check),
            ["info host-network Pod meshed/a"]
        );
    }
}
