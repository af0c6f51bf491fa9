//! What makes kubelet's probes fail in captured pods. The agent gives them a source of their own, 169.254.7.127, so that
//! they are told apart from clients; whoever changes that address, or does not know it, breaks them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, Probe};
use serde_json::Value;

use super::facts::{Mesh, labels, namespace, workload};
use super::finding::{Finding, Severity};
use super::selector;

const SOURCE: &str = "169.254.7.127/32";

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let probed: Vec<_> = mesh
        .concerned_members()
        .filter(|it| is_probed(it))
        .collect();
    if probed.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if let Some(settings) = &mesh.facts.cilium {
        if settings
            .get("enable-bpf-masquerade")
            .is_some_and(|it| it == "true")
        {
            findings.push(Finding::new(
                Severity::Error,
                "probe-masquerade",
                "ConfigMap kube-system/cilium-config",
                format!("Cilium masquerades by eBPF, and answers to probes from {SOURCE} do not come back"),
                "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set bpf.masquerade=false",
            ));
        }
        if !mesh
            .facts
            .others("CiliumClusterwideNetworkPolicy")
            .iter()
            .any(admits)
        {
            findings.extend(isolated(mesh, &probed));
        }
    }
    findings.extend(aws(mesh));
    findings
}

/// Pods that Cilium refuses probes to: it knows the node by its addresses, of which the probes' is none.
fn isolated(mesh: &Mesh<'_>, probed: &[&Pod]) -> Vec<Finding> {
    let is_isolated = |pod: &Pod| {
        mesh.facts.network_policies.iter().any(|policy| {
            let Some(spec) = &policy.spec else {
                return false;
            };
            let types = spec.policy_types.as_deref();
            policy.metadata.namespace.as_deref() == Some(namespace(pod))
                && types.is_none_or(|it| it.iter().any(|it| it == "Ingress"))
                && spec
                    .pod_selector
                    .as_ref()
                    .is_none_or(|it| selector::matches(it, labels(pod)))
        })
    };
    let workloads: BTreeSet<_> = probed
        .iter()
        .filter(|it| is_isolated(it))
        .map(|it| workload(it))
        .collect();
    let finding = |object| {
        Finding::new(
            Severity::Error,
            "probe-policy",
            object,
            format!(
                "a NetworkPolicy isolates it, and Cilium does not take probes from {SOURCE} for its node's"
            ),
            format!(
                "add a CiliumClusterwideNetworkPolicy with ingress fromCIDR {SOURCE} for all endpoints"
            ),
        )
    };
    workloads.into_iter().map(finding).collect()
}

fn admits(policy: &Value) -> bool {
    let rules = policy["spec"]["ingress"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let cidrs = rules
        .iter()
        .filter_map(|it| it["fromCIDR"].as_array())
        .flatten();
    cidrs.filter_map(Value::as_str).any(|it| it == SOURCE)
}

/// AWS' strict mode sends all that is a branch interface's pod's out of the node, probes too.
fn aws(mesh: &Mesh<'_>) -> Option<Finding> {
    let node = mesh
        .facts
        .daemon_sets
        .iter()
        .find(|it| it.metadata.name.as_deref() == Some("aws-node"))?;
    let spec = node
        .spec
        .as_ref()
        .and_then(|it| it.template.spec.as_ref())?;
    let variable = |name: &str| {
        let mut all = spec
            .containers
            .iter()
            .flat_map(|it| it.env.as_deref().unwrap_or_default());
        all.find(|it| it.name == name)
            .and_then(|it| it.value.as_deref())
    };
    let eni = variable("ENABLE_POD_ENI") == Some("true");
    (eni && variable("POD_SECURITY_GROUP_ENFORCING_MODE") != Some("standard")).then(|| {
        Finding::new(
            Severity::Error,
            "probe-masquerade",
            "DaemonSet kube-system/aws-node",
            "with security groups of pods in strict mode, probes go around the node's own rules",
            "kubectl -n kube-system set env daemonset aws-node POD_SECURITY_GROUP_ENFORCING_MODE=standard, then restart the pods",
        )
    })
}

/// Whether kubelet connects to the pod.
fn is_probed(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.as_deref().unwrap_or_default());
    let mut probes = all
        .flat_map(|it| [&it.liveness_probe, &it.readiness_probe, &it.startup_probe])
        .flatten();
    probes.any(|it: &Probe| it.http_get.is_some() || it.tcp_socket.is_some() || it.grpc.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Facts;
    use crate::check::testing::{facts, found, object, pod};
    use serde_json::json;

    const NONE: [String; 0] = [];

    fn probed(probe: Value) -> Facts {
        let mut facts = facts();
        let mut pod = pod("meshed", "web", &[]);
        pod.spec.as_mut().expect("a spec").containers[0].readiness_probe = Some(object(probe));
        facts.pods.push(pod);
        facts
    }

    fn cilium(facts: &mut Facts, masquerade: &str) {
        facts.cilium = Some([("enable-bpf-masquerade".into(), masquerade.into())].into());
    }

    #[test]
    fn masquerading_hurts_only_probes_over_the_network() {
        let mut facts = probed(json!({"tcpSocket": {"port": 1}}));
        assert_eq!(found(&facts, None, check), NONE);
        cilium(&mut facts, "false");
        assert_eq!(found(&facts, None, check), NONE);
        cilium(&mut facts, "true");
        assert_eq!(
            found(&facts, None, check),
            ["error probe-masquerade ConfigMap kube-system/cilium-config"]
        );
        assert_eq!(found(&facts, Some("plain"), check), NONE);
        let mut facts = probed(json!({"exec": {"command": ["true"]}}));
        cilium(&mut facts, "true");
        assert_eq!(found(&facts, None, check), NONE);
    }

    #[test]
    fn cilium_has_to_be_told_of_the_probes_source_where_a_pod_is_isolated() {
        let mut facts = probed(json!({"httpGet": {"port": 1}}));
        cilium(&mut facts, "false");
        let policy = |types: Value| {
            object(
                json!({"metadata": {"namespace": "meshed", "name": "p"}, "spec": {"podSelector": {}, "policyTypes": types}}),
            )
        };
        facts.network_policies = vec![policy(json!(["Egress"]))];
        assert_eq!(found(&facts, None, check), NONE);
        facts.network_policies = vec![policy(json!(["Ingress"]))];
        assert_eq!(
            found(&facts, None, check),
            ["error probe-policy Pod meshed/web"]
        );
        let admitting =
            json!({"spec": {"endpointSelector": {}, "ingress": [{"fromCIDR": [SOURCE]}]}});
        facts
            .others
            .insert("CiliumClusterwideNetworkPolicy", vec![admitting]);
        assert_eq!(found(&facts, None, check), NONE);
    }

    #[test]
    fn security_groups_of_pods() {
        let mut facts = probed(json!({"grpc": {"port": 1}}));
        for (env, blocked) in [
            (json!([]), false),
            (json!([{"name": "ENABLE_POD_ENI", "value": "true"}]), true),
            (
                json!([{"name": "ENABLE_POD_ENI", "value": "true"}, {"name": "POD_SECURITY_GROUP_ENFORCING_MODE", "value": "standard"}]),
                false,
            ),
        ] {
            facts.daemon_sets = vec![object(
                json!({"metadata": {"name": "aws-node", "namespace": "kube-system"},
                "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "aws-node", "env": env}]}}}}),
            )];
            let expected =
                blocked.then_some("error probe-masquerade DaemonSet kube-system/aws-node");
            assert_eq!(found(&facts, None, check), expected.as_slice(), "{env}");
        }
    }
}
