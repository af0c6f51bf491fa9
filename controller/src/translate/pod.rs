//! What a node's agent is told of its pods.

use std::collections::BTreeSet;

use culvert_proto::node::{CaptureOptions, Pod as Record, Strict};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use super::{enrolment, names, peer_authentication};
use crate::keys;
use crate::model::{Key, Kind, Obj, Pod};
use crate::path::FieldPath;
use crate::world::World;

/// The record of a pod; none of one that runs nowhere or has ended.
#[must_use]
pub fn of(world: &World, pod: &Obj<Pod>) -> (Option<Resource>, Vec<Finding>) {
    let (meta, spec) = (&pod.meta, &pod.spec);
    if spec.node.is_empty() || spec.ended {
        return (None, Vec::new());
    }
    let mut findings = Findings::new(Key {
        kind: Kind::Pod,
        name: meta.name.clone(),
    });
    let enrolled = enrolment::is_enrolled(world, pod);
    let mut capture = spec.capture.clone();
    if enrolled && capture.excludes() && !world.settings.exclusions_allowed() {
        let message = "the MeshConfig forbids exclusions from capture: all traffic is captured";
        let field = FieldPath::of("metadata.annotations").key(keys::PREFIX);
        findings.note(
            ConditionType::Accepted,
            "ExclusionsForbidden",
            field,
            message,
        );
        capture = crate::model::CaptureOptions::default();
    }
    let uid = names::pod_uid(&world.settings, &meta.name);
    let ports = |ports: BTreeSet<u16>| ports.into_iter().map(Into::into).collect();
    let strict = enrolled.then(|| {
        let (every_port, some) = peer_authentication::ports_of(world, pod);
        let ports = ports(some);
        Strict { every_port, ports }
    });
    let record = Record {
        uid: uid.clone(),
        name: meta.name.name.to_string(),
        namespace: meta.name.namespace.to_string(),
        service_account: spec.service_account.clone(),
        addresses: spec
            .addresses
            .iter()
            .copied()
            .map(names::address_bytes)
            .collect(),
        netns: spec.netns.clone(),
        enrolled,
        capture: Some(CaptureOptions {
            exclude_inbound_ports: ports(capture.exclude_inbound_ports),
            exclude_outbound_ports: ports(capture.exclude_outbound_ports),
            exclude_outbound_cidrs: capture
                .exclude_outbound_cidrs
                .iter()
                .map(ToString::to_string)
                .collect(),
            dns_capture: capture.dns_capture,
        }),
        strict,
    };
    let resource = Resource {
        name: uid.into(),
        aliases: Vec::new(),
        message: Message::Pod(record),
    };
    (Some(resource), findings.into_vec())
}
