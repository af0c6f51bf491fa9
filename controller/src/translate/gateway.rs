//! Waypoints as workloads, so that those whom they forward to know who they are.

use culvert_proto::istio::workload::{TunnelProtocol, Workload, WorkloadType};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::Resource;
use super::{names, workload};
use crate::model::{Gateway, Key, Kind, NsName, Obj};
use crate::path::FieldPath;
use crate::world::World;

/// The record of a waypoint that runs where its Gateway says; none of another gateway, or without an address. The
/// instances of one that the controller deployed are pods, and have their own.
#[must_use]
pub fn of(world: &World, gateway: &Obj<Gateway>) -> (Option<Resource>, Vec<Finding>) {
    let name = &gateway.meta.name;
    let Some(waypoint) = &gateway.spec.waypoint else {
        return (None, Vec::new());
    };
    let mut findings = Findings::new(Key {
        kind: Kind::Gateway,
        name: name.clone(),
    });
    if super::waypoint::is_deployed(world, name) {
        return (None, deployed(world, name, findings));
    }
    let mut addresses = Vec::new();
    for (i, address) in waypoint.addresses.iter().enumerate() {
        // Of several the first by name has it.
        match world
            .index
            .gateways_at(*address)
            .find(|other| *other < name)
        {
            None => addresses.push(*address),
            Some(other) => {
                let field = FieldPath::of("spec.addresses").index(i).key("value");
                let message = format!("Gateway {other} has {address} too");
                findings.error(ConditionType::Accepted, "AddressConflict", field, message);
            }
        }
    }
    if waypoint.addresses.is_empty() {
        let message = "it is not known where the waypoint runs";
        findings.note(
            ConditionType::Programmed,
            "AddressNotAssigned",
            FieldPath::of("spec.addresses"),
            message,
        );
    } else if !world.waypoints.is_connected(name) {
        let message = "the waypoint is not connected";
        findings.note(
            ConditionType::Programmed,
            "Pending",
            FieldPath::root(),
            message,
        );
    }
    let record = Workload {
        uid: names::gateway_uid(&world.settings, name),
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        addresses: addresses
            .iter()
            .copied()
            .map(names::address_bytes)
            .collect(),
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        trust_domain: world.settings.trust_domain().to_owned(),
        service_account: name.name.to_string(),
        canonical_name: name.name.to_string(),
        canonical_revision: "latest".into(),
        workload_name: name.name.to_string(),
        workload_type: WorkloadType::Deployment.into(),
        cluster_id: world.settings.cluster_id().to_owned(),
        ..Workload::default()
    };
    let record = (!addresses.is_empty()).then(|| workload::resource(record, &addresses));
    (record, findings.into_vec())
}

/// What is still missing of one that the controller deployed.
fn deployed(world: &World, name: &NsName, mut findings: Findings) -> Vec<Finding> {
    if !world.waypoints.is_programmed(name) {
        let message = "no instance is ready yet";
        findings.note(
            ConditionType::Programmed,
            "Pending",
            FieldPath::root(),
            message,
        );
    }
    findings.into_vec()
}
