//! NetworkPolicies under which the mesh's traffic can't pass: what reached a port directly comes to 15008 in the mesh, so
//! whoever may connect to some port of a pod must be let through to 15008, too, on both ends.

use std::collections::BTreeMap;

use culvert_enrolment::Map;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::facts::{Mesh, labels, namespace, workload};
use super::finding::{Finding, Severity};
use super::selector;

const HBONE: i32 = 15008;
const DNS: i32 = 53;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// One rule of a policy, whichever its direction.
struct Rule<'a> {
    policy: &'a NetworkPolicy,
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    // Pods with the same labels meet the same policies.
    let mut shapes = BTreeMap::new();
    for pod in mesh.members() {
        shapes.entry((namespace(pod), labels(pod))).or_insert(pod);
    }
    let mut found = BTreeMap::new();
    for ((target_namespace, _), target) in &shapes {
        if !mesh.concerns(target_namespace) {
            continue;
        }
        let selecting: Vec<_> = (mesh.facts.network_policies.iter())
            .filter(|it| it.metadata.namespace.as_deref() == Some(target_namespace))
            .filter(|it| selects(it, target))
            .collect();
        for direction in [Direction::Ingress, Direction::Egress] {
            let rules: Vec<_> = selecting
                .iter()
                .flat_map(|it| rules(it, direction))
                .collect();
            for rule in rules
                .iter()
                .filter(|it| !lets_through(it, target, direction))
            {
                let open: Vec<_> = rules
                    .iter()
                    .filter(|it| lets_through(it, target, direction))
                    .collect();
                if blocked(mesh, rule, &open, &shapes, direction, target_namespace) {
                    let name = rule.policy.metadata.name.as_deref().unwrap_or_default();
                    let key = (
                        format!("NetworkPolicy {target_namespace}/{name}"),
                        direction == Direction::Egress,
                    );
                    found.entry(key).or_insert_with(|| workload(target));
                }
            }
        }
    }
    let findings = found.into_iter().map(|((object, egress), target)| {
        if egress {
            Finding::new(
                Severity::Error,
                "network-policy-egress",
                object,
                format!("{target} may connect to pods of the mesh on some port, but not on {HBONE}, by which the mesh does"),
                format!("let the policy's egress rules allow TCP port {HBONE} to the same peers"),
            )
        } else {
            Finding::new(
                Severity::Error,
                "network-policy-ingress",
                object,
                format!("lets clients of the mesh in to {target}, but not on {HBONE}, on which the mesh comes"),
                format!("let the policy's ingress rules allow TCP port {HBONE} from the same peers"),
            )
        }
    });
    findings.collect()
}

fn selects(policy: &NetworkPolicy, pod: &Pod) -> bool {
    let selector = policy.spec.as_ref().and_then(|it| it.pod_selector.as_ref());
    selector.is_none_or(|it| selector::matches(it, labels(pod)))
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    let rule = |peers, ports| Rule {
        policy,
        peers,
        ports,
    };
    match direction {
        Direction::Ingress => (spec.ingress.as_deref().unwrap_or_default().iter())
            .map(|it| {
                rule(
                    it.from.as_deref().unwrap_or_default(),
                    it.ports.as_deref().unwrap_or_default(),
                )
            })
            .collect(),
        Direction::Egress => (spec.egress.as_deref().unwrap_or_default().iter())
            .map(|it| {
                rule(
                    it.to.as_deref().unwrap_or_default(),
                    it.ports.as_deref().unwrap_or_default(),
                )
            })
            .collect(),
    }
}

fn lets_through(rule: &Rule<'_>, target: &Pod, direction: Direction) -> bool {
    rule.ports.is_empty() || rule.ports.iter().any(|it| is_hbone(it, target, direction))
}

fn is_hbone(port: &NetworkPolicyPort, target: &Pod, direction: Direction) -> bool {
    let tcp = port.protocol.as_deref().is_none_or(|it| it == "TCP");
    tcp && match &port.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=port.end_port.unwrap_or(*first)).contains(&HBONE)
        }
        // A name is looked up in the pod that listens, which for egress is not this one.
        Some(IntOrString::String(name)) => {
            direction == Direction::Ingress && {
                let containers = target.spec.as_ref().map_or(&[][..], |it| &it.containers);
                let mut ports = containers
                    .iter()
                    .flat_map(|it| it.ports.as_deref().unwrap_or_default());
                ports.any(|it| it.name.as_ref() == Some(name) && it.container_port == HBONE)
            }
        }
    }
}

/// Whether somebody of the mesh whom the rule means is not let through to 15008 by any other rule.
fn blocked(
    mesh: &Mesh<'_>,
    rule: &Rule<'_>,
    open: &[&Rule<'_>],
    shapes: &BTreeMap<(&str, &Map), &Pod>,
    direction: Direction,
    home: &str,
) -> bool {
    let only_udp = rule
        .ports
        .iter()
        .all(|it| it.protocol.as_deref().is_some_and(|it| it != "TCP"));
    let only_dns = rule
        .ports
        .iter()
        .all(|it| it.port == Some(IntOrString::Int(DNS)));
    if only_udp
        || (only_dns && direction == Direction::Egress)
        || open.iter().any(|it| it.peers.is_empty())
    {
        return false;
    }
    let open: Vec<_> = open.iter().flat_map(|it| it.peers).collect();
    let means = |peer: &NetworkPolicyPeer, shape: (&str, &Map), pod: &Pod| {
        is_peer(mesh, peer, home, shape, pod)
    };
    let passes = |shape, pod| open.iter().any(|it| means(it, shape, pod));
    if rule.peers.is_empty() {
        // Everybody: also who is not there yet.
        return true;
    }
    rule.peers.iter().any(|peer| {
        let mut met = shapes
            .iter()
            .filter(|(shape, pod)| means(peer, **shape, pod))
            .peekable();
        if met.peek().is_some() {
            return met.any(|(shape, pod)| !passes(*shape, pod));
        }
        // It means nobody of the mesh: somebody outside it, or nobody yet.
        let anybody =
            (mesh.facts.pods.iter()).any(|it| means(peer, (namespace(it), labels(it)), it));
        peer.ip_block.is_none() && !anybody && !open.contains(&peer)
    })
}

fn is_peer(
    mesh: &Mesh<'_>,
    peer: &NetworkPolicyPeer,
    home: &str,
    (place, labels): (&str, &Map),
    pod: &Pod,
) -> bool {
    if let Some(block) = &peer.ip_block {
        let ips = pod
            .status
            .as_ref()
            .and_then(|it| it.pod_ips.as_deref())
            .unwrap_or_default();
        let within = |net: &str, ip: &str| {
            let (net, ip) = (net.parse::<ipnet::IpNet>(), ip.parse::<std::net::IpAddr>());
            net.is_ok_and(|net| ip.is_ok_and(|ip| net.contains(&ip)))
        };
        let except = block.except.as_deref().unwrap_or_default();
        return ips.iter().any(|it| {
            within(&block.cidr, &it.ip) && !except.iter().any(|net| within(net, &it.ip))
        });
    }
    let there = match &peer.namespace_selector {
        None => place == home,
        Some(selector) => mesh
            .namespace_labels(place)
            .is_some_and(|it| selector::matches(selector, it)),
    };
    there
        && peer
            .pod_selector
            .as_ref()
            .is_none_or(|it| selector::matches(it, labels))
}

#[cfg(test)]
#[path = "network_policy_tests.rs"]
mod tests;
