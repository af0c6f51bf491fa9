//! `resolve`: what exactly a peer wants to reach in this pod.
//!
//! Invariants: a [`Destination`] is an address and port of this very pod, after any service port was mapped to the pod's
//! own, and never a port of the mesh; policy sees it, and nothing else is dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_hbone::Authority;
use culvert_policy::DenyReason;
use culvert_xds::state::{Service, Snapshot, Workload};

use crate::inpod::Pod;
use crate::proxy::ports;

/// Where a connection ends.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    workload: Arc<Workload>,
    addr: SocketAddr,
    service: Option<Arc<Service>>,
}

/// The destination that a CONNECT names: an address of the pod, or a service that the pod is an endpoint of.
pub(super) fn resolve(
    pod: &Pod,
    workload: &Arc<Workload>,
    snapshot: &Snapshot,
    authority: &Authority,
) -> Result<Destination, DenyReason> {
    match authority {
        Authority::Ip(addr) => resolve_captured(pod, workload, *addr),
        Authority::Host { host, port } => {
            let services = snapshot.services_by_hostname(host);
            let mut found = services.filter_map(|service| {
                Some((service, endpoint_port(snapshot, service, *port, workload)?))
            });
            let (service, port) = found.next().ok_or(DenyReason::DestinationMismatch)?;
            let ip = pod
                .addresses()
                .first()
                .ok_or(DenyReason::DestinationMismatch)?;
            let destination = resolve_captured(pod, workload, SocketAddr::new(*ip, port))?;
            Ok(Destination {
                service: Some(service.clone()),
                ..destination
            })
        }
    }
}

/// The destination of a connection that the pod's rules led here.
pub(crate) fn resolve_captured(
    pod: &Pod,
    workload: &Arc<Workload>,
    addr: SocketAddr,
) -> Result<Destination, DenyReason> {
    if !pod.owns(addr.ip()) {
        return Err(DenyReason::DestinationMismatch);
    }
    if ports::is_own(addr.port()) {
        return Err(DenyReason::SelfCall);
    }
    Ok(Destination {
        workload: workload.clone(),
        addr,
        service: None,
    })
}

fn endpoint_port(
    snapshot: &Snapshot,
    service: &Service,
    port: u16,
    workload: &Workload,
) -> Option<u16> {
    let mut endpoints = snapshot.endpoints(service, port);
    endpoints
        .find(|endpoint| endpoint.workload.uid() == workload.uid())
        .map(|endpoint| endpoint.port)
}

impl Destination {
    /// The pod.
    pub(crate) fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// What will be dialled.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The service by whose name it was asked for.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        self.service.as_ref()
    }
}
