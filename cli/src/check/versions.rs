//! Versions: of Kubernetes, of the nodes' kernels, and of the mesh's own parts against each other.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::facts::{Mesh, labels, namespace};
use super::finding::{Finding, Severity};
use super::gateway_api::number;
use crate::install::skew::{self, Version};

/// As the chart says.
const KUBERNETES: (u32, u32) = (1, 30);
/// Connection tracking zones by direction, transparent sockets and pidfds for namespaces.
const KERNEL: (u32, u32) = (5, 10);
const PART: &str = "app.kubernetes.io/name";

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = &mesh.facts.version;
    match number(version) {
        Some(it) if it < KUBERNETES => findings.push(Finding::new(
            Severity::Error,
            "kubernetes-version",
            "Kubernetes",
            format!(
                "{version} is older than {}.{}, the oldest that Culvert works with",
                KUBERNETES.0, KUBERNETES.1
            ),
            "upgrade the cluster",
        )),
        Some(_) => {}
        None => findings.push(Finding::new(
            Severity::Warning,
            "kubernetes-version",
            "Kubernetes",
            format!("calls itself {version:?}, which is no version"),
            "see that it is 1.30 or later",
        )),
    }
    findings.extend(kernels(mesh));
    findings.extend(skewed(mesh));
    findings
}

fn kernels(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in &mesh.facts.nodes {
        let object = format!("Node {}", node.metadata.name.as_deref().unwrap_or_default());
        let Some(info) = node.status.as_ref().and_then(|it| it.node_info.as_ref()) else {
            continue;
        };
        if info.operating_system != "linux" {
            let message = format!(
                "runs {}: its pods stay outside the mesh",
                info.operating_system
            );
            findings.push(Finding::new(
                Severity::Info,
                "node-system",
                object,
                message,
                "",
            ));
        } else if number(&info.kernel_version).is_some_and(|it| it < KERNEL) {
            findings.push(Finding::new(
                Severity::Error,
                "node-kernel",
                object,
                format!(
                    "kernel {} is older than {}.{}",
                    info.kernel_version, KERNEL.0, KERNEL.1
                ),
                "upgrade the node's system",
            ));
        }
    }
    findings
}

fn skewed(mesh: &Mesh<'_>) -> Vec<Finding> {
    let own = || {
        mesh.facts
            .pods
            .iter()
            .filter(|it| namespace(it) == culvert_enrolment::SYSTEM_NAMESPACE)
    };
    let of = |part: &'static str| {
        own().filter(move |it| labels(it).get(PART).is_some_and(|it| it == part))
    };
    let controllers: BTreeSet<_> = of("culvert-controller").filter_map(version).collect();
    // While the controllers themselves are upgraded, the older ones still have the word.
    let Some(controller) = controllers.first() else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for part in ["culvert-agent", "culvert-ztunnel"] {
        for found in of(part).filter_map(version) {
            let who = format!("DaemonSet {}/{part}", culvert_enrolment::SYSTEM_NAMESPACE);
            if !seen.insert((part, found)) {
                continue;
            }
            if let Err(error) = skew::check(*controller, None, &[(who.clone(), found)]) {
                findings.push(Finding::new(
                    Severity::Error,
                    "version-skew",
                    who,
                    error.to_string(),
                    "culvert upgrade, with the newest of the versions, and one minor version at a time",
                ));
            }
        }
    }
    findings
}

fn version(pod: &Pod) -> Option<Version> {
    labels(pod).get("app.kubernetes.io/version")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found, object, pod};
    use serde_json::json;

    const NONE: [String; 0] = [];

    #[test]
    fn kubernetes_must_not_be_too_old() {
        let mut facts = facts();
        for (version, expected) in [
            ("v1.36.3", None),
            ("v1.30.0-gke.1", None),
            ("v1.29.9", Some("error kubernetes-version Kubernetes")),
            ("", Some("warning kubernetes-version Kubernetes")),
        ] {
            facts.version = version.into();
            assert_eq!(found(&facts, None, check), expected.as_slice(), "{version}");
        }
    }

    #[test]
    fn nodes_need_a_kernel() {
        let mut facts = facts();
        facts.version = "v1.36.3".into();
        for (system, kernel, expected) in [
            ("linux", "6.18.44", None),
            ("linux", "5.10.0-30-amd64", None),
            ("linux", "4.19.0-27-amd64", Some("error node-kernel Node n")),
            ("windows", "10.0.20348.1", Some("info node-system Node n")),
        ] {
            facts.nodes = vec![object(
                json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {
                    "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": kernel, "kubeProxyVersion": "",
                    "kubeletVersion": "", "machineID": "", "operatingSystem": system, "osImage": "", "systemUUID": "",
                }}}),
            )];
            assert_eq!(found(&facts, None, check), expected.as_slice(), "{kernel}");
        }
    }

    #[test]
    fn agents_and_ztunnels_follow_their_controller() {
        let mut facts = facts();
        facts.version = "v1.36.3".into();
        let part = |part: &str, version: &str| {
            pod(
                "culvert-system",
                part,
                &[(PART, part), ("app.kubernetes.io/version", version)],
            )
        };
        for (agent, ztunnel, expected) in [
            ("1.5.0", "1.5.2", NONE.to_vec()),
            ("1.4.9", "1.5.0", NONE.to_vec()),
            (
                "1.6.0",
                "1.5.0",
                vec!["error version-skew DaemonSet culvert-system/culvert-agent".to_owned()],
            ),
            (
                "1.5.0",
                "1.3.0",
                vec!["error version-skew DaemonSet culvert-system/culvert-ztunnel".to_owned()],
            ),
        ] {
            facts.pods = vec![
                part("culvert-controller", "1.5.0"),
                part("culvert-agent", agent),
                part("culvert-ztunnel", ztunnel),
            ];
            assert_eq!(found(&facts, None, check), expected, "{agent} {ztunnel}");
        }
    }
}
