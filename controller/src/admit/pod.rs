//! Pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use culvert_enrolment::foreign;
use k8s_openapi::api::core::v1;

use super::names::{address, dns_subdomain, port};
use crate::keys;
use crate::model::{CaptureOptions, Owner, Pod};
use crate::path::{FieldPath, Issues};

/// The condition by which the controller's replicas tell each other, and people, that a pod is captured.
pub const CAPTURED: &str = "culvert.dev/Captured";

/// Why it is False of a pod that was captured before: its peers go on using HBONE.
pub const CAPTURE_LOST: &str = "Lost";

pub(super) fn admit(pod: &v1::Pod, issues: &mut Issues) -> Pod {
    let none = BTreeMap::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&none);
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let service_account = spec
        .service_account_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let service_account = service_account.unwrap_or("default").to_owned();
    issues.take(
        &FieldPath::of("spec.serviceAccountName"),
        dns_subdomain(&service_account),
    );
    let node = spec.node_name.clone().unwrap_or_default();
    if !node.is_empty() {
        issues.take(&FieldPath::of("spec.nodeName"), dns_subdomain(&node));
    }
    let phase = status.phase.as_deref().unwrap_or("Running");
    if !["Pending", "Running", "Succeeded", "Failed", "Unknown"].contains(&phase) {
        issues.add(
            FieldPath::of("status.phase"),
            format!("{phase:?} is no phase of a pod"),
        );
    }
    let conditions = status.conditions.iter().flatten();
    let not_ready = conditions
        .clone()
        .any(|condition| condition.type_ == "Ready" && condition.status != "True");
    let mut told = conditions
        .clone()
        .filter(|condition| condition.type_ == CAPTURED)
        .peekable();
    let capture_told = told.peek().is_some();
    let captured = told.any(|c| c.status == "True" || c.reason.as_deref() == Some(CAPTURE_LOST));
    Pod {
        node: node.into(),
        service_account,
        addresses: addresses(&status, issues),
        host_network: spec.host_network.unwrap_or_default(),
        netns: netns(pod, issues),
        ended: matches!(phase, "Succeeded" | "Failed"),
        captured,
        capture_told,
        ready: !not_ready,
        owner: owner(pod),
        ports: ports(&spec, issues),
        foreign: foreign::mark(annotations),
        capture: capture(annotations, issues),
    }
}

fn addresses(status: &v1::PodStatus, issues: &mut Issues) -> Vec<IpAddr> {
    let at = FieldPath::of("status.podIPs");
    let mut addresses = Vec::new();
    for (i, ip) in status.pod_ips.iter().flatten().enumerate() {
        addresses.extend(issues.take(&at.index(i).key("ip"), address(&ip.ip)));
    }
    if let Some(ip) = status.pod_ip.as_ref().filter(|ip| !ip.is_empty()) {
        let at = FieldPath::of("status.podIP");
        let first = issues.take(&at, address(ip));
        match (first, addresses.first()) {
            (Some(first), None) => addresses.push(first),
            (Some(first), Some(listed)) if first != *listed => {
                issues.add(
                    at,
                    format!("{first} is not the first of podIPs, which is {listed}"),
                );
            }
            _ => {}
        }
    }
    addresses
}

fn netns(pod: &v1::Pod, issues: &mut Issues) -> String {
    let annotations = pod.metadata.annotations.as_ref();
    let path = annotations
        .and_then(|a| a.get(keys::NETNS))
        .cloned()
        .unwrap_or_default();
    if !path.is_empty() && !path.starts_with('/') {
        let at = FieldPath::of("metadata.annotations").key(keys::NETNS);
        issues.add(at, format!("{path:?} is no absolute path"));
    }
    path
}

fn owner(pod: &v1::Pod) -> Option<Owner> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(Owner {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
    })
}

fn ports(spec: &v1::PodSpec, issues: &mut Issues) -> BTreeMap<String, u16> {
    let mut named = BTreeMap::new();
    for (i, container) in spec.containers.iter().enumerate() {
        let at = FieldPath::of("spec.containers").index(i).key("ports");
        for (j, p) in container.ports.iter().flatten().enumerate() {
            let number = issues.take(&at.index(j).key("containerPort"), port(p.container_port));
            let tcp = p.protocol.as_deref().unwrap_or("TCP") == "TCP";
            if let (Some(name), Some(number), true) = (&p.name, number, tcp) {
                named.entry(name.clone()).or_insert(number);
            }
        }
    }
    named
}

fn capture(annotations: &BTreeMap<String, String>, issues: &mut Issues) -> CaptureOptions {
    let (options, mistakes) = culvert_enrolment::options(annotations);
    for mistake in mistakes {
        let at = FieldPath::of("metadata.annotations").key(mistake.annotation);
        issues.add(at, mistake.message);
    }
    options
}
