//! `identify`: who is on the other end.
//!
//! Invariant: a [`Peer`] with an identity came over mutual TLS, or is a pod of this node whose valid certificate is held
//! here; headers never become identity.

use std::net::IpAddr;

use culvert_identity::{Identity, SpiffeId};
use culvert_policy::{DenyReason, Principal};
use culvert_xds::state::{Snapshot, Workload};

use super::Accepted;
use crate::telemetry::Party;

/// The other end of a connection, as far as it is proved.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    identity: Option<(SpiffeId, Principal)>,
    address: IpAddr,
}

/// The peer of a tunnel: who its certificate says, at the address that it connected from.
pub(super) fn identify(accepted: &Accepted) -> Result<Peer, DenyReason> {
    proved(accepted.peer(), accepted.peer_addr().ip())
}

/// A pod of this node, which has no need to show its certificate to the one who holds it.
pub(crate) fn neighbour(own: &Identity, address: IpAddr) -> Result<Peer, DenyReason> {
    proved(&own.id, address)
}

fn proved(id: &SpiffeId, address: IpAddr) -> Result<Peer, DenyReason> {
    let principal = Principal::new(id.trust_domain(), id.namespace(), id.service_account())
        .map_err(|_invalid| DenyReason::IdentityMalformed)?;
    Ok(Peer {
        identity: Some((id.clone(), principal)),
        address,
    })
}

/// The peer of a plain-text connection, who is nobody.
pub(crate) fn unidentified(address: IpAddr) -> Peer {
    Peer {
        identity: None,
        address,
    }
}

impl Peer {
    /// Who it proved to be.
    pub(crate) fn identity(&self) -> Option<&(SpiffeId, Principal)> {
        self.identity.as_ref()
    }

    /// Where it connects from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// For telemetry: the workload at the peer's address, unless it proved to be somebody else.
    pub(crate) fn party(&self, snapshot: &Snapshot) -> Party {
        let identity = self.identity.as_ref().map(|(id, _)| id);
        let workload = snapshot.workload_by_ip(self.address);
        let is_peer = |workload: &&std::sync::Arc<Workload>| {
            identity.is_none_or(|id| id == workload.identity())
        };
        match workload.filter(is_peer) {
            Some(workload) => Party::of(workload).with_identity(identity.cloned()),
            None => Party::anonymous(identity),
        }
    }
}
