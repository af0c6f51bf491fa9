//! What is put down of an inbound connection for metrics and logs. Decides nothing.

use std::sync::Arc;

use culvert_xds::state::{Service, Snapshot, Workload};

use super::Accepted;
use super::identify::Peer;
use super::resolve::Destination;
use crate::inpod::Pod;
use crate::proxy::connections::Connection;
use crate::telemetry::Party;

/// Both ends.
pub(crate) fn ends(
    connection: &Connection,
    snapshot: &Snapshot,
    peer: &Peer,
    pod: &Pod,
    workload: &Arc<Workload>,
) {
    let proved = peer.identity().and_then(|_| pod.certificate.id());
    let mut facts = connection.facts();
    facts.source = peer.party(snapshot);
    facts.destination = Party::of(workload).with_identity(proved);
}

/// What is reached over HBONE, and as which service: a name that the client gives counts if this pod is an endpoint of
/// that service.
pub(super) fn destination(
    connection: &Connection,
    snapshot: &Snapshot,
    accepted: &Accepted,
    destination: &Destination,
) {
    let bindings = destination.workload().services();
    let is_bound = |service: &&Arc<Service>| {
        bindings
            .iter()
            .any(|binding| binding.service == service.key)
    };
    let said = accepted
        .0
        .headers
        .forwarded
        .as_ref()
        .and_then(|forwarded| forwarded.host.as_deref());
    let named = said.and_then(|host| snapshot.services_by_hostname(host).find(is_bound));
    let mut facts = connection.facts();
    facts.destination_addr = destination.addr();
    facts.service = destination.service().or(named).cloned();
}
