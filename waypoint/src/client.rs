//! Who is asking: the one source of a client's identity for policy, faults, metrics and logs.
//!
//! Invariant: an identity is what mutual TLS proved. A client of a gateway's listener has none, and nothing makes one up.

use std::net::IpAddr;

use culvert_hbone::headers::Baggage;
use culvert_identity::SpiffeId;
use culvert_policy::{InvalidPrincipal, Principal};

use crate::telemetry::{SeriesCache, SourceLabels};

/// A client at the address that its connection comes from.
#[derive(Debug)]
pub struct Client {
    /// Who it is; nothing outside the mesh.
    identity: Option<Identity>,
    /// Where its connection comes from.
    pub address: IpAddr,
    /// The number of its labels.
    pub source: u32,
}

/// What mutual TLS proved.
#[derive(Debug)]
struct Identity {
    id: SpiffeId,
    /// The same as policies compare it.
    principal: Principal,
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
            identity: Some(Identity {
                id: id.clone(),
                principal,
            }),
            address: address.to_canonical(),
            source,
        })
    }

    /// A client outside the mesh.
    pub fn outside(address: IpAddr, series: &SeriesCache) -> Self {
        Self {
            identity: None,
            address: address.to_canonical(),
            source: series.source(&SourceLabels::outside(), SourceLabels::outside),
        }
    }

    /// Who it is to policies; nobody, if it proved nothing.
    pub fn principal(&self) -> Option<&Principal> {
        Some(&self.identity.as_ref()?.principal)
    }

    /// Its namespace, if it proved one.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.identity.as_ref()?.id.namespace())
    }

    /// Its identity for logs, `-` if it proved none.
    pub fn id(&self) -> &str {
        self.identity
            .as_ref()
            .map_or("-", |identity| identity.id.as_str())
    }
}
