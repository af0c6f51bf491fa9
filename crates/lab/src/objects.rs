//! The YAML of a laboratory's objects, as a person would write it.
//!
//! Everything else (routes, policies) is written out in full where it is used: there the text is what matters.

use crate::Pod;
use std::{fmt::Write, net::IpAddr};

/// A key and its value.
pub type Pair<'a> = (&'a str, &'a str);

/// The label that puts a namespace or pod into the mesh.
pub const AMBIENT: Pair<'static> = ("culvert.dev/dataplane-mode", "ambient");

/// A service port.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// Port of the service.
    pub port: u16,
    /// Port of the pods.
    pub target: u16,
    /// `http`, `kubernetes.io/h2c`, ...; empty for none.
    pub app_protocol: &'a str,
}

impl Port<'_> {
    /// The same port at the service and its pods, with no word about its protocol.
    pub const fn same(port: u16) -> Self {
        Port {
            port,
            target: port,
            app_protocol: "",
        }
    }
}

/// A Namespace.
pub fn namespace(name: &str, labels: &[Pair<'_>]) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n{}",
        pairs("labels", labels)
    )
}

/// A Node.
pub fn node(name: &str, address: IpAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n\
         status:\n  addresses:\n  - type: InternalIP\n    address: \"{address}\"\n"
    )
}

/// A running Pod, labelled `app: NAME` besides.
pub fn pod(pod: &Pod, labels: &[Pair<'_>], annotations: &[Pair<'_>]) -> String {
    let netns = pod.net.path().display().to_string();
    let labels = [&[("app", pod.name.as_str())], labels].concat();
    let annotations = [&[("culvert.dev/netns", netns.as_str())], annotations].concat();
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {}\n{}{}\
         spec:\n  nodeName: {}\n  serviceAccountName: {}\n\
         status:\n  phase: Running\n  podIP: \"{}\"\n  podIPs:\n",
        pod.name,
        pod.namespace,
        pairs("labels", &labels),
        pairs("annotations", &annotations),
        pod.node,
        pod.service_account,
        pod.ip(),
    );
    for ip in pod.ips() {
        let _ = writeln!(text, "  - ip: \"{ip}\"");
    }
    text
}

/// A Service that selects pods by `app: APP`.
pub fn service(
    namespace: &str,
    name: &str,
    app: &str,
    vips: &[IpAddr],
    ports: &[Port<'_>],
    labels: &[Pair<'_>],
) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{}\
         spec:\n  selector:\n    app: {app}\n",
        pairs("labels", labels)
    );
    if let Some(first) = vips.first() {
        let _ = writeln!(text, "  clusterIP: \"{first}\"\n  clusterIPs:");
        for vip in vips {
            let _ = writeln!(text, "  - \"{vip}\"");
        }
    }
    text.push_str("  ports:\n");
    for Port {
        port,
        target,
        app_protocol,
    } in ports
    {
        let _ = writeln!(
            text,
            "  - name: p{port}\n    port: {port}\n    targetPort: {target}\n    protocol: TCP"
        );
        if !app_protocol.is_empty() {
            let _ = writeln!(text, "    appProtocol: {app_protocol}");
        }
    }
    text
}

/// The Gateway of a waypoint that runs at `address`.
pub fn waypoint(namespace: &str, name: &str, address: IpAddr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
         metadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  gatewayClassName: culvert-waypoint\n\
         \x20 addresses:\n  - type: IPAddress\n    value: \"{address}\"\n\
         \x20 listeners:\n  - name: mesh\n    port: 15008\n    protocol: HBONE\n"
    )
}

/// The MeshConfig `default`. `same_node` is `Hbone` or `InProcess`.
pub fn mesh_config(certificate_ttl: &str, same_node: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: MeshConfig\nmetadata:\n  name: default\n\
         spec:\n  trustDomain: cluster.local\n  certificateTTL: {certificate_ttl}\n\
         \x20 sameNode: {same_node}\n\
         \x20 clusterCIDRs:\n  - 10.11.0.0/24\n  - 10.12.0.0/24\n  - 10.96.0.0/16\n\
         \x20 - fd10:11::/64\n  - fd10:12::/64\n  - fd10:96::/112\n"
    )
}

fn pairs(key: &str, pairs: &[Pair<'_>]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    pairs
        .iter()
        .fold(format!("  {key}:\n"), |text, (key, value)| {
            format!("{text}    {key}: \"{value}\"\n")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_reads_as_a_person_would_write_it() {
        let vips = ["10.96.0.1".parse().unwrap(), "fd10:96::1".parse().unwrap()];
        let text = service(
            "demo",
            "web",
            "web",
            &vips,
            &[Port::same(80)],
            &[("a", "b")],
        );
        let expected = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: demo\n  labels:\n    a: \"b\"\n\
             spec:\n  selector:\n    app: web\n  clusterIP: \"10.96.0.1\"\n  clusterIPs:\n  - \"10.96.0.1\"\n  - \"fd10:96::1\"\n\
             \x20 ports:\n  - name: p80\n    port: 80\n    targetPort: 80\n    protocol: TCP\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_gateway_reads_as_a_person_would_write_it() {
        let text = waypoint("demo", "waypoint", "10.12.0.20".parse().unwrap());
        assert!(
            text.contains(
                "\nspec:\n  gatewayClassName: culvert-waypoint\n  addresses:\n  - type: IPAddress\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("  listeners:\n  - name: mesh\n    port: 15008\n    protocol: HBONE\n"),
            "{text}"
        );
    }
}
