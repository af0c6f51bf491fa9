//! What of a Kubernetes Pod matters to its node's agent.
//!
//! Invariant: nothing here fails. What cannot be understood captures more, never less, and is said.

use std::collections::BTreeSet;
use std::net::IpAddr;

use culvert_enrolment::{Map, Mesh, foreign, keys};
use k8s_openapi::api::core::v1::{self, Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pod::CaptureOptions;

/// Kubelet writes a static pod's uid here, on the pod that it shows to the API under a uid of its own.
const STATIC_UID: &str = "kubernetes.io/config.hash";

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `metadata.uid`.
    pub uid: String,
    /// The uid that the node's runtime knows it by.
    pub runtime_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// `status.podIPs`; they may be a former sandbox's.
    pub addresses: Vec<IpAddr>,
    /// The labels that decide over enrolment.
    pub labels: Map,
    /// Another mesh's mark.
    pub foreign: Option<Mesh>,
    /// It shares its node's network.
    pub host_network: bool,
    /// All its containers have ended for good.
    pub ended: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// What of it is captured.
    pub options: CaptureOptions,
    /// What is wrong with its annotations.
    pub mistakes: Vec<String>,
}

impl Facts {
    /// Of a pod; `None` of one without name or uid, which the API has not.
    #[must_use]
    pub fn of(pod: &v1::Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let (uid, name) = (meta.uid.clone()?, meta.name.clone()?);
        let spec = pod.spec.as_ref()?;
        let none = Map::new();
        let annotations = meta.annotations.as_ref().unwrap_or(&none);
        let labels =
            meta.labels.iter().flatten().filter(|(key, _)| {
                [keys::DATAPLANE_MODE, keys::GATEWAY_CLASS].contains(&key.as_str())
            });
        let status = pod.status.clone().unwrap_or_default();
        let (options, mistakes) = culvert_enrolment::options(annotations);
        let account = spec.service_account_name.as_deref();
        let mut owners = meta.owner_references.iter().flatten();
        let is_static = owners.any(|owner| owner.kind == "Node");
        let runtime_uid = annotations.get(STATIC_UID).filter(|_| is_static);
        Some(Self {
            runtime_uid: runtime_uid.unwrap_or(&uid).clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            service_account: account
                .filter(|name| !name.is_empty())
                .unwrap_or("default")
                .to_owned(),
            addresses: addresses(&status),
            labels: labels
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            foreign: foreign::mark(annotations),
            host_network: spec.host_network.unwrap_or_default(),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            deleting: meta.deletion_timestamp.is_some(),
            options: CaptureOptions {
                exclude_inbound_ports: options.exclude_inbound_ports,
                exclude_outbound_ports: options.exclude_outbound_ports,
                exclude_outbound_cidrs: options.exclude_outbound_cidrs,
                dns_capture: options.dns_capture,
                probe_ports: probe_ports(spec),
            },
            mistakes: mistakes
                .into_iter()
                .map(|mistake| format!("annotation {}: {}", mistake.annotation, mistake.message))
                .collect(),
            uid,
            name,
        })
    }
}

fn addresses(status: &v1::PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses = Vec::new();
    for text in all.chain(status.pod_ip.as_deref()) {
        if let Some(address) = text
            .parse()
            .ok()
            .filter(|address| !addresses.contains(address))
        {
            addresses.push(address);
        }
    }
    addresses
}

/// The ports that kubelet dials at the pod's own address.
fn probe_ports(spec: &v1::PodSpec) -> BTreeSet<u16> {
    let sidecars = spec.init_containers.iter().flatten();
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(dialled)
        .collect()
}

fn dialled(container: &Container) -> Vec<u16> {
    let number = |port: &IntOrString| match port {
        IntOrString::Int(port) => u16::try_from(*port).ok(),
        IntOrString::String(name) => named(container, name),
    };
    let probes = [
        &container.liveness_probe,
        &container.readiness_probe,
        &container.startup_probe,
    ];
    let probed = probes.into_iter().flatten().flat_map(|probe: &Probe| {
        let grpc = probe
            .grpc
            .iter()
            .filter_map(|grpc| u16::try_from(grpc.port).ok());
        let http = probe
            .http_get
            .iter()
            .filter(|http| http.host.is_none())
            .map(|http| &http.port);
        let tcp = probe
            .tcp_socket
            .iter()
            .filter(|tcp| tcp.host.is_none())
            .map(|tcp| &tcp.port);
        http.chain(tcp)
            .filter_map(number)
            .chain(grpc)
            .collect::<Vec<_>>()
    });
    let hooks = container
        .lifecycle
        .iter()
        .flat_map(|hooks| [&hooks.post_start, &hooks.pre_stop]);
    let hooked = hooks.flatten().flat_map(|hook| {
        let http = hook
            .http_get
            .iter()
            .filter(|http| http.host.is_none())
            .map(|http| &http.port);
        let tcp = hook
            .tcp_socket
            .iter()
            .filter(|tcp| tcp.host.is_none())
            .map(|tcp| &tcp.port);
        http.chain(tcp).filter_map(number).collect::<Vec<_>>()
    });
    probed.chain(hooked).filter(|port| *port != 0).collect()
}

fn named(container: &Container, name: &str) -> Option<u16> {
    // Kubelet takes a number written as text, too.
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name));
    match port {
        Some(port) => u16::try_from(port.container_port).ok(),
        None => name.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "called with literals")]
    fn facts(metadata: Value, spec: Value, status: Value) -> Facts {
        let mut meta = json!({"name": "web", "namespace": "demo", "uid": "u1"});
        for (key, value) in metadata.as_object().unwrap() {
            meta[key] = value.clone();
        }
        let pod = json!({"metadata": meta, "spec": spec, "status": status});
        Facts::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn what_matters_is_read() {
        let found = facts(
            json!({
                "labels": {"app": "web", "culvert.dev/dataplane-mode": "ambient"},
                "annotations": {"culvert.dev/exclude-inbound-ports": "8080", "sidecar.istio.io/status": "{}"},
                "deletionTimestamp": "2026-01-01T00:00:00Z",
            }),
            json!({"containers": [], "serviceAccountName": "web", "hostNetwork": true}),
            json!({"phase": "Succeeded", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}]}),
        );
        assert_eq!(found.labels.len(), 1, "{found:?}");
        assert_eq!(found.addresses.len(), 2);
        assert_eq!(found.options.exclude_inbound_ports, [8080].into());
        assert!(found.host_network && found.ended && found.deleting);
        assert_eq!(found.foreign, Some(Mesh::IstioSidecar));
        assert_eq!(
            (&*found.service_account, &*found.runtime_uid),
            ("web", "u1")
        );
    }

    #[test]
    fn a_static_pod_is_known_by_its_hash_and_nobody_else() {
        let annotations = json!({"kubernetes.io/config.hash": "h1"});
        let node = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n"}]);
        let metadata = json!({"annotations": annotations, "ownerReferences": node});
        let spec = json!({"containers": []});
        assert_eq!(facts(metadata, spec.clone(), json!({})).runtime_uid, "h1");
        let metadata = json!({"annotations": annotations});
        assert_eq!(facts(metadata, spec, json!({})).runtime_uid, "u1");
    }

    #[test]
    fn every_port_that_kubelet_dials_and_no_other() {
        let spec = json!({
            "initContainers": [{"name": "side", "restartPolicy": "Always",
                "startupProbe": {"tcpSocket": {"port": 7000}}}],
            "containers": [{"name": "a", "ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 9999}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}},
                "readinessProbe": {"grpc": {"port": 9000}},
                "startupProbe": {"exec": {"command": ["true"]}},
                "lifecycle": {"preStop": {"httpGet": {"port": "8081"}}}},
              {"name": "b",
                "livenessProbe": {"httpGet": {"port": 1, "host": "10.1.1.1"}},
                "readinessProbe": {"tcpSocket": {"port": "nobody"}}}],
        });
        let found = facts(json!({}), spec, json!({}));
        assert_eq!(found.options.probe_ports, [7000, 8080, 8081, 9000].into());
    }

    #[test]
    fn forged_annotations_and_conditions_change_nothing() {
        let spec = json!({"containers": []});
        let plain = facts(json!({}), spec.clone(), json!({}));
        let forged = facts(
            json!({"annotations": {
                "culvert.dev/captured": "true",
                "culvert.dev/netns": "/proc/1/ns/net",
                "culvert.dev/mark": "1337",
                "culvert.dev/probe-ports": "80",
            }}),
            spec,
            json!({"conditions": [{"type": "culvert.dev/Captured", "status": "True"}]}),
        );
        assert_eq!(forged, plain);
    }

    #[test]
    fn a_wrong_annotation_is_said() {
        let annotations = json!({"culvert.dev/exclude-inbound-ports": "http"});
        let found = facts(
            json!({"annotations": annotations}),
            json!({"containers": []}),
            json!({}),
        );
        assert!(found.options.exclude_inbound_ports.is_empty());
        assert!(
            found.mistakes[0].contains("exclude-inbound-ports"),
            "{found:?}"
        );
    }
}
