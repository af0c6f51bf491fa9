//! Network plugins that keep Culvert's out, or that translate addresses of services before the mesh sees them.

use serde_json::Value;

use super::facts::Mesh;
use super::finding::{Finding, Severity};

const CILIUM: &str = "ConfigMap kube-system/cilium-config";

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut findings = cilium(mesh);
    findings.extend(
        mesh.facts
            .others("FelixConfiguration")
            .iter()
            .filter_map(calico),
    );
    findings.extend(multus(mesh));
    findings.extend(directories(mesh));
    findings
}

fn cilium(mesh: &Mesh<'_>) -> Vec<Finding> {
    let Some(settings) = &mesh.facts.cilium else {
        return Vec::new();
    };
    let is = |key: &str, value: &str| {
        settings
            .get(key)
            .is_some_and(|it| it.eq_ignore_ascii_case(value))
    };
    let mut findings = Vec::new();
    // Cilium's own default is to be alone.
    if !is("cni-exclusive", "false") {
        findings.push(Finding::new(
            Severity::Error,
            "cni-exclusive",
            CILIUM,
            "Cilium takes other plugins out of the nodes' CNI configuration: new pods are not held until captured",
            "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set cni.exclusive=false",
        ));
    }
    let translates = is("bpf-lb-sock", "true")
        || is("kube-proxy-replacement", "true")
        || is("kube-proxy-replacement", "strict");
    if translates && !is("bpf-lb-sock-hostns-only", "true") {
        findings.push(Finding::new(
            Severity::Error,
            "socket-load-balancing",
            CILIUM,
            "Cilium replaces a service's address by a pod's inside of the client's pod: the mesh does not see which \
             service was meant, and leaves out its waypoint and its policies",
            "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set socketLB.hostNamespaceOnly=true",
        ));
    }
    findings
}

fn calico(felix: &Value) -> Option<Finding> {
    let spec = &felix["spec"];
    let word = spec["bpfConnectTimeLoadBalancing"].as_str();
    let off = word == Some("Disabled") || spec["bpfConnectTimeLoadBalancingEnabled"] == false;
    (spec["bpfEnabled"] == true && !off).then(|| {
        Finding::new(
            Severity::Error,
            "socket-load-balancing",
            format!("FelixConfiguration {}", felix["metadata"]["name"].as_str().unwrap_or_default()),
            "Calico replaces a service's address by a pod's inside of the client's pod: the mesh does not see which \
             service was meant, and leaves out its waypoint and its policies",
            "kubectl patch felixconfiguration default --type merge \
             -p '{\"spec\":{\"bpfConnectTimeLoadBalancing\":\"Disabled\",\"bpfHostNetworkedNATWithoutCTLB\":\"Enabled\"}}'",
        )
    })
}

fn multus(mesh: &Mesh<'_>) -> Option<Finding> {
    let found = mesh.facts.daemon_sets.iter().find(|it| {
        it.metadata
            .name
            .as_ref()
            .is_some_and(|name| name.contains("multus"))
    })?;
    let metadata = &found.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    Some(Finding::new(
        Severity::Warning,
        "cni-order",
        format!(
            "DaemonSet {}/{}",
            namespace.unwrap_or_default(),
            name.unwrap_or_default()
        ),
        "Multus stands first in the nodes' CNI configuration and calls the cluster's own plugins by a copy of theirs",
        "let Multus read the cluster's configuration from its file (--multus-master-cni-file-name), and see that this file \
         is the one that culvert-cni is in: grep -l culvert-cni /etc/cni/net.d/*",
    ))
}

/// Distributions that keep CNI files elsewhere than the chart's defaults say.
fn directories(mesh: &Mesh<'_>) -> Option<Finding> {
    let agent = mesh
        .facts
        .daemon_sets
        .iter()
        .find(|it| it.metadata.name.as_deref() == Some("culvert-agent"));
    let spec = agent
        .and_then(|it| it.spec.as_ref())
        .and_then(|it| it.template.spec.as_ref());
    let volumes = spec
        .and_then(|it| it.volumes.as_deref())
        .unwrap_or_default();
    let configured = volumes
        .iter()
        .filter_map(|it| it.host_path.as_ref())
        .any(|it| it.path.contains("rancher/k3s"));
    let k3s = mesh.facts.nodes.iter().find(|it| {
        let info = it.status.as_ref().and_then(|it| it.node_info.as_ref());
        info.is_some_and(|it| it.kubelet_version.contains("+k3s"))
    })?;
    (!configured).then(|| {
        Finding::new(
            if agent.is_some() {
                Severity::Error
            } else {
                Severity::Warning
            },
            "cni-directories",
            format!("Node {}", k3s.metadata.name.as_deref().unwrap_or_default()),
            "K3s keeps its CNI files elsewhere than others do",
            "install with --set cni.confDir=/var/lib/rancher/k3s/agent/etc/cni/net.d \
             --set cni.binDir=/var/lib/rancher/k3s/data/cni",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found, object};
    use serde_json::json;

    const NONE: [String; 0] = [];

    #[test]
    fn cilium_must_neither_be_alone_nor_translate_in_sockets() {
        let exclusive = "error cni-exclusive ConfigMap kube-system/cilium-config";
        let socket = "error socket-load-balancing ConfigMap kube-system/cilium-config";
        let mut facts = facts();
        assert_eq!(found(&facts, None, check), NONE);
        for (settings, expected) in [
            (&[] as &[_], vec![exclusive]),
            (&[("cni-exclusive", "true")], vec![exclusive]),
            (&[("cni-exclusive", "false")], vec![]),
            (
                &[("cni-exclusive", "false"), ("bpf-lb-sock", "true")],
                vec![socket],
            ),
            (
                &[
                    ("cni-exclusive", "false"),
                    ("kube-proxy-replacement", "true"),
                ],
                vec![socket],
            ),
            (
                &[
                    ("cni-exclusive", "false"),
                    ("kube-proxy-replacement", "true"),
                    ("bpf-lb-sock-hostns-only", "true"),
                ],
                vec![],
            ),
        ] {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            facts.cilium = Some(settings.iter().map(owned).collect());
            assert_eq!(found(&facts, None, check), expected, "{settings:?}");
        }
    }

    #[test]
    fn calico_with_ebpf_must_not_translate_in_sockets() {
        let mut facts = facts();
        for (spec, blocked) in [
            (json!({}), false),
            (json!({"bpfEnabled": true}), true),
            (
                json!({"bpfEnabled": true, "bpfConnectTimeLoadBalancing": "TCP"}),
                true,
            ),
            (
                json!({"bpfEnabled": true, "bpfConnectTimeLoadBalancing": "Disabled"}),
                false,
            ),
        ] {
            let felix = json!({"metadata": {"name": "default"}, "spec": spec});
            facts.others.insert("FelixConfiguration", vec![felix]);
            let expected =
                blocked.then_some("error socket-load-balancing FelixConfiguration default");
            assert_eq!(found(&facts, None, check), expected.as_slice(), "{spec}");
        }
    }

    #[test]
    fn plugins_before_ours_and_files_elsewhere() {
        let mut facts = facts();
        facts.daemon_sets = vec![object(
            json!({"metadata": {"namespace": "kube-system", "name": "kube-multus-ds"}}),
        )];
        assert_eq!(
            found(&facts, None, check),
            ["warning cni-order DaemonSet kube-system/kube-multus-ds"]
        );
        let node = |version: &str| {
            object(json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {
                "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": version, "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": "",
            }}}))
        };
        facts.daemon_sets = vec![];
        facts.nodes = vec![node("v1.36.3")];
        assert_eq!(found(&facts, None, check), NONE);
        facts.nodes = vec![node("v1.36.3+k3s1")];
        assert_eq!(
            found(&facts, None, check),
            ["warning cni-directories Node n"]
        );
        let agent = |path: &str| {
            object(
                json!({"metadata": {"name": "culvert-agent"}, "spec": {"selector": {}, "template": {"spec": {
                "containers": [], "volumes": [{"name": "cni-conf", "hostPath": {"path": path}}]}}}}),
            )
        };
        facts.daemon_sets = vec![agent("/etc/cni/net.d")];
        assert_eq!(found(&facts, None, check), ["error cni-directories Node n"]);
        facts.daemon_sets = vec![agent("/var/lib/rancher/k3s/agent/etc/cni/net.d")];
        assert_eq!(found(&facts, None, check), NONE);
    }
}
