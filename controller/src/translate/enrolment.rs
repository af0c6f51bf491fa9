//! Whether a pod is in the mesh, and who it is there.

use std::net::IpAddr;

use crate::keys;
use crate::model::{Obj, Pod};
use crate::world::World;

/// Whether a pod's traffic is to be in the mesh: as its agent decides, and never that of a waypoint.
#[must_use]
pub fn is_enrolled(world: &World, pod: &Obj<Pod>) -> bool {
    let namespace = &pod.meta.name.namespace;
    let decided = culvert_enrolment::decide(&culvert_enrolment::Pod {
        namespace,
        namespace_mode: world.cache.namespace_label(namespace, keys::DATAPLANE_MODE),
        mode: pod.meta.label(keys::DATAPLANE_MODE),
        gateway_class: pod.meta.label(culvert_enrolment::keys::GATEWAY_CLASS),
        foreign: pod.spec.foreign,
        host_network: pod.spec.host_network,
        ended: pod.spec.ended,
    });
    let waypoint = |address: &IpAddr| world.index.gateways_at(*address).next().is_some();
    decided.is_ok() && !pod.spec.addresses.is_empty() && !pod.spec.addresses.iter().any(waypoint)
}

/// The addresses under which a pod is known: those that it alone has.
#[must_use]
pub fn addresses(world: &World, pod: &Obj<Pod>) -> Vec<IpAddr> {
    if pod.spec.ended {
        return Vec::new();
    }
    let own = |address: &&IpAddr| {
        pod.spec.host_network
            || (world.holder(**address) == Some(&pod.meta.name)
                && world.index.gateways_at(**address).next().is_none())
    };
    pod.spec.addresses.iter().filter(own).copied().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::NsName;
    use crate::testing::{namespace, pod_value, waypoint, world};

    fn enrolled(
        namespace_label: Option<&str>,
        pod_label: Option<&str>,
        change: impl Fn(&mut serde_json::Value),
    ) -> bool {
        let labels = namespace_label.map_or(
            json!({}),
            |mode| json!({"culvert.dev/dataplane-mode": mode}),
        );
        let mut pod = pod_value("demo", "web", "10.0.0.1");
        if let Some(mode) = pod_label {
            pod["metadata"]["labels"]["culvert.dev/dataplane-mode"] = json!(mode);
        }
        change(&mut pod);
        let world = world(&[
            namespace("demo", labels),
            pod,
            waypoint("demo", "gate", "10.0.0.9"),
        ]);
        let pod = world.cache.pods.get(&NsName::new("demo", "web")).unwrap();
        is_enrolled(&world, pod)
    }

    #[test]
    fn the_pods_word_counts_before_the_namespaces() {
        for (namespace, pod, expected) in [
            (None, None, false),
            (Some("ambient"), None, true),
            (Some("ambient"), Some("none"), false),
            (Some("none"), Some("ambient"), true),
            (None, Some("ambient"), true),
        ] {
            assert_eq!(
                enrolled(namespace, pod, |_| ()),
                expected,
                "{namespace:?} {pod:?}"
            );
        }
    }

    #[test]
    fn some_never_are() {
        let ambient = Some("ambient");
        assert!(!enrolled(
            ambient,
            ambient,
            |pod| pod["spec"]["hostNetwork"] = json!(true)
        ));
        assert!(!enrolled(ambient, ambient, |pod| pod["status"]["phase"] =
            json!("Succeeded")));
        assert!(!enrolled(ambient, ambient, |pod| pod["status"] = json!({})));
        assert!(!enrolled(ambient, ambient, |pod| pod["status"]["podIP"] =
            json!("10.0.0.9")));
        assert!(enrolled(
            ambient,
            ambient,
            |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
        ));
    }
}
