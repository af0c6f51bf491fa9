//! Where this instance is, among the endpoints of a service.
//!
//! Invariant: where an instance is, the controller says of its workload, which comes from the node that runs it; nothing
//! that a client says is looked at.

use std::rc::Rc;
use std::sync::Arc;

use culvert_xds::state::{Service, Snapshot, Workload};

use super::endpoint::Endpoint;
use super::shares::Shares;
use super::tiers::Tiers;
use crate::config::locality::Locality;
use crate::destination::Own;

/// Where this instance is, and what the service prefers.
#[derive(Debug)]
pub(super) struct Place {
    here: Option<Arc<Workload>>,
    service: Option<Locality>,
}

impl Place {
    pub(super) fn new(snapshot: &Snapshot, own: &Own, service: &Service) -> Self {
        Self {
            here: own.workload(snapshot).cloned(),
            service: Locality::of_service(&service.load_balancing),
        }
    }

    /// The tiers as a policy says or else the service, where that makes a difference.
    pub(super) fn tiers(
        &self,
        policy: Option<&Locality>,
        endpoints: &[Rc<Endpoint>],
    ) -> Option<Tiers> {
        let locality = policy.or(self.service.as_ref())?;
        let endpoints = endpoints.iter().map(|endpoint| &**endpoint.workload());
        Tiers::new(locality, self.here.as_deref(), endpoints)
    }

    /// What the service alone makes of it: the nearest tier takes all.
    pub(super) fn shares(&self, endpoints: &[Rc<Endpoint>]) -> Option<Rc<Shares>> {
        let tiers = self.tiers(None, endpoints)?;
        let whole = vec![1.0; endpoints.len()];
        let loads = tiers.loads(&whole);
        Some(Rc::new(Shares::tiered(whole, &tiers, &loads)))
    }
}
