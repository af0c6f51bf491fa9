//! What a connection is to the policies that may strike it.
//!
//! Invariant: what cannot be told apart is not struck. A connection that names no service, in plain text say, counts as
//! one to every service that leads to its port, and a policy must be for all of them.

use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_xds::state::{Service, Snapshot, Workload};

/// A connection as faults see it.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    /// Uid of the workload that it reaches.
    pub(super) workload: Arc<str>,
    /// What the client asked for, or may have: services `NAMESPACE/HOSTNAME` and their ports.
    pub(super) asked: Vec<(Arc<str>, u16)>,
    /// Who it comes from, if that was proved.
    pub(super) peer: Option<SpiffeId>,
}

impl Aim {
    /// A connection of `peer` to a port of `workload`, which the client asked for as `service`, if that is known.
    pub(crate) fn new(
        snapshot: &Snapshot,
        workload: &Workload,
        port: u16,
        service: Option<&Service>,
        peer: Option<SpiffeId>,
    ) -> Self {
        let mut asked = Vec::new();
        for binding in workload.services() {
            if service.is_some_and(|service| service.key != binding.service) {
                continue;
            }
            let own = &binding.ports;
            let mapped = own.iter().filter(|own| own.target_port == port);
            asked.extend(mapped.map(|own| (binding.service.clone(), own.service_port)));
            // What the workload does not map itself is as the service says.
            let known = snapshot.service(&binding.service);
            let ports = known.iter().flat_map(|service| &service.ports);
            let ports = ports.filter(|said| said.target_port == Some(port));
            let said = ports.filter(|said| own.iter().all(|own| own.service_port != said.port));
            asked.extend(said.map(|said| (binding.service.clone(), said.port)));
        }
        Self {
            workload: workload.uid().clone(),
            asked,
            peer,
        }
    }
}
