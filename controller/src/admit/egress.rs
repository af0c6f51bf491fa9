//! EgressPolicies.

use culvert_policy::HostPattern;

use crate::api::{EgressPeer, EgressPolicySpec};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check(_meta: &Meta, spec: &EgressPolicySpec, issues: &mut Issues) {
    for (i, rule) in spec.egress.iter().enumerate() {
        let at = FieldPath::of("spec.egress").index(i);
        if rule.to.is_empty() {
            let message = "is empty and would allow nothing: 0.0.0.0/0 and ::/0 are every address";
            issues.add(at.key("to"), message);
        }
        for (i, peer) in rule.to.iter().enumerate() {
            check_peer(peer, &at.key("to").index(i), issues);
        }
        for (i, ports) in rule.ports.iter().enumerate() {
            if ports.end_port.is_some_and(|end| end < ports.port) {
                let at = at.key("ports").index(i).key("endPort");
                issues.add(at, "is lower than port");
            }
        }
    }
}

fn check_peer(peer: &EgressPeer, at: &FieldPath, issues: &mut Issues) {
    match (&peer.cidr, &peer.host) {
        (None, None) => issues.add(at.clone(), "has neither cidr nor host"),
        (Some(_), Some(_)) => issues.add(at.key("host"), "stands beside cidr"),
        _ => {}
    }
    if peer.cidr.is_none() && !peer.except.is_empty() {
        issues.add(at.key("except"), "stands without cidr");
    }
    if let Some(host) = &peer.host {
        issues.take(&at.key("host"), HostPattern::parse(host));
    }
}
