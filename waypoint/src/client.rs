//! Who is asking: the one source of a client's identity for policy, faults, metrics and logs.

use std::net::IpAddr;

use culvert_hbone::headers::Baggage;
use culvert_identity::SpiffeId;
use culvert_policy::{InvalidPrincipal, Principal};

use crate::telemetry::{SeriesCache, SourceLabels};

/// A client as mutual TLS proved it, at the address that its connection comes from.
#[derive(Debug)]
pub struct Client {
    /// Its identity.
    pub id: SpiffeId,
    /// The same as policies compare it.
    pub principal: Principal,
    /// Where its connection comes from.
    pub address: IpAddr,
    /// The number of its labels.
    pub source: u32,
}

impl Client {
    /// The client `id` at `address`, about whom its node proxy says `baggage`.
    pub fn new(
        id: &SpiffeId,
        address: IpAddr,
        baggage: Option<&Baggage>,
        series: &SeriesCache,
    ) -> Result<Self, InvalidPrincipal> {
        let principal = Principal::new(id.trust_domain(), id.namespace(), id.service_account())?;
        let source = series.source(&SourceLabels::new(id, baggage), || {
            SourceLabels::new(id, None)
        });
        Ok(Self {
            id: id.clone(),
            principal,
            address: address.to_canonical(),
            source,
        })
    }
}
