//! The objects of a mesh of any size, as JSON: namespaces of 500 pods and 50 services whatever the size, so that only the
//! number of namespaces differs.

use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What one namespace holds.
pub(crate) const PODS: usize = 500;
const ACCOUNTS: usize = 5;
pub(crate) const SYSTEM: &str = "culvert-system";

/// A mesh's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: usize,
    pub(crate) services: usize,
    pub(crate) nodes: usize,
}

/// Something to create: where, and what.
pub(crate) type Creation = (String, Value);

/// A pod at one moment of its life; `index` is its place in the mesh, which its successors take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod {
    pub(crate) index: usize,
    pub(crate) generation: usize,
}

impl Size {
    pub(crate) fn namespaces(self) -> usize {
        self.pods.div_ceil(PODS)
    }

    fn services_each(self) -> usize {
        (self.services / self.namespaces()).max(1)
    }

    pub(crate) fn node(self, index: usize) -> String {
        format!("node-{:03}", index % self.nodes)
    }

    /// The place in the mesh of the service that a pod belongs to.
    pub(crate) fn service_of(self, pod: usize) -> usize {
        let each = self.services_each();
        (pod / PODS) * each + (pod % PODS) % each
    }

    /// The places of a service's pods.
    pub(crate) fn pods_of(self, service: usize) -> impl Iterator<Item = usize> {
        let each = self.services_each();
        let first = (service / each) * PODS + service % each;
        let end = ((service / each + 1) * PODS).min(self.pods);
        (first..end).step_by(each)
    }

    pub(crate) fn all_services(self) -> usize {
        self.services_each() * self.namespaces()
    }

    pub(crate) fn service_name(self, service: usize) -> String {
        format!("svc-{:02}", service % self.services_each())
    }

    /// The name of its resource.
    pub(crate) fn service_key(self, service: usize) -> String {
        let (name, namespace) = (self.service_name(service), self.service_namespace(service));
        format!("{namespace}/{name}.{namespace}.svc.cluster.local")
    }

    pub(crate) fn service_namespace(self, service: usize) -> String {
        namespace(service / self.services_each())
    }

    /// What comes before pods and services.
    pub(crate) fn foundations(self) -> Vec<Creation> {
        let mut made = vec![named("Namespace", SYSTEM, &json!({}))];
        let mode = json!({"culvert.dev/dataplane-mode": "ambient"});
        made.extend((0..self.namespaces()).map(|n| named("Namespace", &namespace(n), &mode)));
        made.extend((0..self.nodes).map(|n| {
            let zone = json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": format!("z{}", n % 3)});
            named("Node", &self.node(n), &zone)
        }));
        let account = |namespace: &str, name: &str| {
            let value =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
            (
                format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
                value,
            )
        };
        made.push(account(SYSTEM, "culvert-ztunnel"));
        for n in 0..self.namespaces() {
            made.extend((0..ACCOUNTS).map(|a| account(&namespace(n), &format!("account-{a}"))));
        }
        made
    }

    /// The pods of the proxies themselves, one for each node.
    pub(crate) fn proxies(self, clients: usize) -> Vec<Creation> {
        let pod = |n: usize| {
            let mut value = pod_value("ztunnel", &proxy(n), "culvert-ztunnel", &self.node(n));
            value["spec"]["hostNetwork"] = json!(true);
            (format!("/api/v1/namespaces/{SYSTEM}/pods"), value)
        };
        (0..clients).map(pod).collect()
    }

    pub(crate) fn service(self, service: usize) -> Creation {
        let name = self.service_name(service);
        let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        (
            format!(
                "/api/v1/namespaces/{}/services",
                self.service_namespace(service)
            ),
            value,
        )
    }

    /// A service's slice, with the pods that it has now.
    pub(crate) fn slice(self, service: usize, pods: &[Pod]) -> Creation {
        let name = self.service_name(service);
        let value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": slice_name(&name), "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": self.endpoints(pods)});
        let namespace = self.service_namespace(service);
        (
            format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
            value,
        )
    }

    pub(crate) fn endpoints(self, pods: &[Pod]) -> Value {
        let endpoint = |pod: &Pod| {
            json!({"addresses": [pod.address()], "nodeName": self.node(pod.index),
                   "conditions": {"ready": true, "serving": true, "terminating": false},
                   "targetRef": {"kind": "Pod", "name": pod.name(self), "namespace": namespace(pod.index / PODS)}})
        };
        pods.iter().map(endpoint).collect()
    }

    /// Where a service's slice is.
    pub(crate) fn slice_path(self, service: usize) -> String {
        let (collection, _) = self.slice(service, &[]);
        format!("{collection}/{}", slice_name(&self.service_name(service)))
    }

    pub(crate) fn pod(self, pod: Pod) -> Creation {
        let app = self.service_name(self.service_of(pod.index));
        let account = format!("account-{}", pod.index % ACCOUNTS);
        let value = pod_value(&app, &pod.name(self), &account, &self.node(pod.index));
        (pod.collection(), value)
    }
}

impl Pod {
    pub(crate) fn name(self, size: Size) -> String {
        let app = size.service_name(size.service_of(self.index));
        format!(
            "{app}-7d9c5b6f4-{:05}-{}",
            self.index % PODS,
            self.generation
        )
    }

    pub(crate) fn namespace(self) -> String {
        namespace(self.index / PODS)
    }

    pub(crate) fn collection(self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace())
    }

    pub(crate) fn path(self, size: Size) -> String {
        format!("{}/{}", self.collection(), self.name(size))
    }

    /// Another one than its predecessor's.
    fn address(self) -> Ipv4Addr {
        let number = u32::try_from(self.index + self.generation * 100_000).unwrap_or(u32::MAX);
        Ipv4Addr::from(0x0a80_0000 | (number % 0x007f_ffff))
    }

    /// What kubelet and agent say when it runs and is captured.
    pub(crate) fn status(self) -> Value {
        let condition = |kind: &str, reason: &str| {
            json!({"type": kind, "status": "True", "reason": reason,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        json!({"status": {"phase": "Running", "podIP": self.address(), "podIPs": [{"ip": self.address()}],
            "conditions": [condition("Ready", "Started"), condition("culvert.dev/Captured", "Captured")]}})
    }
}

/// The pod of a node's proxy.
pub(crate) fn proxy(node: usize) -> String {
    format!("culvert-ztunnel-{node:03}")
}

fn namespace(index: usize) -> String {
    format!("scale-{index:03}")
}

fn slice_name(service: &str) -> String {
    format!("{service}-abcde")
}

fn named(kind: &str, name: &str, labels: &Value) -> Creation {
    let path = format!("/api/v1/{}s", kind.to_lowercase());
    let value =
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}});
    (path, value)
}

fn pod_value(app: &str, name: &str, account: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app, "pod-template-hash": "7d9c5b6f4"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("{app}-7d9c5b6f4"), "uid": "00000000-0000-0000-0000-000000000001"}]},
        "spec": {"nodeName": node, "serviceAccountName": account, "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "app", "ports": [{"name": "http", "containerPort": 8080}]}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_belongs_to_one_service_of_its_namespace() {
        let size = Size {
            pods: 5000,
            services: 500,
            nodes: 20,
        };
        let mut seen = vec![false; size.pods];
        for service in 0..size.all_services() {
            for pod in size.pods_of(service) {
                assert_eq!(size.service_of(pod), service);
                assert_eq!(
                    Pod {
                        index: pod,
                        generation: 0
                    }
                    .namespace(),
                    size.service_namespace(service)
                );
                assert!(!std::mem::replace(&mut seen[pod], true));
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
