//! Who outside the mesh talks to pods that take mutual TLS only: Prometheus, ingress controllers, clients outside the
//! cluster. They are cut off.

use std::collections::BTreeSet;

use culvert_enrolment::WAYPOINT_CLASS;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::entry::{self, Backend};
use super::facts::{Mesh, labels, namespace, workload};
use super::finding::{Finding, Severity};
use super::mutual_tls::MutualTls;
use super::selector::includes;

const SCRAPERS: [&str; 7] = [
    "prometheus",
    "vmagent",
    "victoria-metrics-agent",
    "alloy",
    "opentelemetry-collector",
    "otel-collector",
    "grafana-agent",
];
const INGRESSES: [&str; 11] = [
    "ingress-nginx",
    "nginx-ingress",
    "traefik",
    "haproxy-ingress",
    "kubernetes-ingress",
    "contour",
    "kong",
    "emissary-ingress",
    "ambassador",
    "gateway-helm",
    "apisix",
];

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let tls = MutualTls::of(mesh.facts);
    let mut findings = scraped(mesh, &tls);
    findings.extend(entered(mesh, &tls));
    findings.extend(exposed(mesh, &tls));
    findings
}

/// Pods that Prometheus reads by annotation.
fn scraped(mesh: &Mesh<'_>, tls: &MutualTls) -> Vec<Finding> {
    let mut refused = BTreeSet::new();
    for pod in mesh.concerned_members() {
        let services = mesh
            .facts
            .services
            .iter()
            .filter(|it| selects(it, pod))
            .map(|it| &it.metadata);
        for metadata in services.chain([&pod.metadata]) {
            let annotation = |key: &str| metadata.annotations.as_ref().and_then(|it| it.get(key));
            if annotation("prometheus.io/scrape").map(String::as_str) != Some("true") {
                continue;
            }
            let port = annotation("prometheus.io/port").and_then(|it| it.parse().ok());
            let ports = port.map_or_else(
                || container_ports(pod).map(|(_, it)| it).collect(),
                |it| vec![it],
            );
            refused.extend(
                ports
                    .into_iter()
                    .filter(|it| tls.refuses_plain(pod, *it))
                    .map(|it| (workload(pod), it)),
            );
        }
    }
    let (all, outside) = outsiders(mesh, &SCRAPERS);
    let (severity, who) = match outside.first() {
        Some(name) => (
            Severity::Error,
            format!("{name}, which is outside the mesh,"),
        ),
        None if all > 0 => return Vec::new(),
        None => (
            Severity::Warning,
            "whoever reads its metrics from outside the mesh".to_owned(),
        ),
    };
    let finding = |(object, port)| {
        Finding::new(
            severity,
            "strict-scrape",
            object,
            format!("{who} is refused at port {port}: STRICT"),
            "enrol Prometheus, or make the metrics' port PERMISSIVE by portLevelMtls of a PeerAuthentication",
        )
    };
    refused.into_iter().map(finding).collect()
}

/// Services that an ingress controller or another gateway sends to.
fn entered(mesh: &Mesh<'_>, tls: &MutualTls) -> Vec<Finding> {
    let (all, outside) = outsiders(mesh, &INGRESSES);
    let mut findings = Vec::new();
    for entry in entry::all(mesh.facts) {
        let Some(target) = entry.backends.iter().find_map(|it| refused(mesh, tls, it)) else {
            continue;
        };
        // A gateway's pods carry its name; an Ingress says nothing of who serves it.
        let (known, outside) = match &entry.gateway {
            Some((place, name)) => {
                let is_its = |it: &&Pod| {
                    let label = labels(it).get("gateway.networking.k8s.io/gateway-name");
                    namespace(it) == place && label == Some(name)
                };
                let pods: Vec<_> = mesh.facts.pods.iter().filter(is_its).collect();
                (
                    pods.len(),
                    pods.into_iter()
                        .filter(|it| !mesh.has(it))
                        .map(workload)
                        .collect(),
                )
            }
            None => (all, outside.clone()),
        };
        let (severity, who) = match outside.first() {
            Some(name) => (
                Severity::Error,
                format!("{name}, which is outside the mesh,"),
            ),
            None if known > 0 => continue,
            None => (
                Severity::Warning,
                "whoever serves it from outside the mesh".to_owned(),
            ),
        };
        findings.push(Finding::new(
            severity,
            "strict-ingress",
            entry.object,
            format!("leads to {target}, which refuses {who}: STRICT"),
            "enrol the ingress controller (culvert.dev/dataplane-mode: ambient on its pods), or make the port PERMISSIVE",
        ));
    }
    findings
}

/// Services that clients outside the cluster reach without any controller between.
fn exposed(mesh: &Mesh<'_>, tls: &MutualTls) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &mesh.facts.services {
        let spec = service.spec.as_ref();
        let kind = spec.and_then(|it| it.type_.as_deref()).unwrap_or_default();
        if !matches!(kind, "NodePort" | "LoadBalancer") {
            continue;
        }
        let pods: Vec<_> = mesh
            .concerned_members()
            .filter(|it| selects(service, it))
            .collect();
        let ports = spec.and_then(|it| it.ports.as_deref()).unwrap_or_default();
        let refuses = |pod: &Pod| {
            ports
                .iter()
                .any(|it| target(it, pod).is_some_and(|it| tls.refuses_plain(pod, it)))
        };
        let Some(pod) = pods.into_iter().find(|it| refuses(it)) else {
            continue;
        };
        findings.push(Finding::new(
            Severity::Warning,
            "strict-outside",
            format!("Service {}/{}", namespace(pod), service.metadata.name.as_deref().unwrap_or_default()),
            format!("of type {kind}: clients outside the cluster are refused by {}: STRICT", workload(pod)),
            "let them come by an ingress of the mesh, or make the port PERMISSIVE by portLevelMtls of a PeerAuthentication",
        ));
    }
    findings
}

/// A workload behind the backend that takes no plain text there.
fn refused(mesh: &Mesh<'_>, tls: &MutualTls, backend: &Backend) -> Option<String> {
    let service = mesh.facts.services.iter().find(|it| {
        let metadata = &it.metadata;
        metadata.namespace.as_ref() == Some(&backend.namespace)
            && metadata.name.as_ref() == Some(&backend.service)
    })?;
    let ports = service.spec.as_ref()?.ports.as_deref().unwrap_or_default();
    let meant = |port: &&ServicePort| match &backend.port {
        Some(IntOrString::Int(number)) => port.port == *number,
        Some(IntOrString::String(name)) => port.name.as_ref() == Some(name),
        None => true,
    };
    let mut pods = mesh.concerned_members().filter(|it| selects(service, it));
    let refusing = pods.find(|pod| {
        let mut targets = ports.iter().filter(meant).filter_map(|it| target(it, pod));
        targets.any(|it| tls.refuses_plain(pod, it))
    });
    refusing.map(workload)
}

/// How many pods are of these kinds, and those outside the mesh.
fn outsiders(mesh: &Mesh<'_>, names: &[&str]) -> (usize, Vec<String>) {
    let known = |name: &str| names.contains(&name);
    let is_one = |pod: &&Pod| {
        let all = labels(pod);
        let labelled = ["app.kubernetes.io/name", "app", "k8s-app"]
            .iter()
            .any(|it| all.get(*it).is_some_and(|it| known(it)));
        let containers = pod.spec.as_ref().map_or(&[][..], |it| &it.containers);
        let image = |image: &str| {
            let name = image.rsplit('/').next().unwrap_or_default();
            known(name.split([':', '@']).next().unwrap_or_default())
        };
        let waypoint = all
            .get(culvert_enrolment::keys::GATEWAY_CLASS)
            .is_some_and(|it| it == WAYPOINT_CLASS);
        !waypoint
            && (labelled
                || containers
                    .iter()
                    .any(|it| it.image.as_deref().is_some_and(image)))
    };
    let all: Vec<_> = mesh.facts.pods.iter().filter(is_one).collect();
    let outside: BTreeSet<_> = all
        .iter()
        .filter(|it| !mesh.has(it))
        .map(|it| workload(it))
        .collect();
    (all.len(), outside.into_iter().collect())
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|it| it.selector.as_ref());
    service.metadata.namespace == pod.metadata.namespace
        && selector.is_some_and(|it| !it.is_empty() && includes(labels(pod), it))
}

/// The pod's port that a service's port leads to.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = |it: i32| u16::try_from(it).ok();
    match &port.target_port {
        None => number(port.port),
        Some(IntOrString::Int(it)) => number(*it),
        Some(IntOrString::String(name)) => container_ports(pod)
            .find(|(it, _)| *it == Some(name.as_str()))
            .map(|(_, it)| it),
    }
}

fn container_ports(pod: &Pod) -> impl Iterator<Item = (Option<&str>, u16)> {
    let containers = pod.spec.as_ref().map_or(&[][..], |it| &it.containers);
    let ports = containers
        .iter()
        .flat_map(|it| it.ports.as_deref().unwrap_or_default());
    ports.filter_map(|it| Some((it.name.as_deref(), u16::try_from(it.container_port).ok()?)))
}

#[cfg(test)]
#[path = "strict_tests.rs"]
mod tests;
