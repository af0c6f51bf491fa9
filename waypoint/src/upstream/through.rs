//! Endpoints of a service that has a waypoint, as a gateway sees them: the waypoint's instances, which go on to the service.
//!
//! Invariant: what the service's waypoint decides, it decides for a gateway's clients too. A waypoint that is not known, or
//! whose instances speak no HBONE, leaves the service without endpoints; its own are never dialled past it.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_hbone::Authority;
use culvert_xds::state::{GatewayDestination, GatewayRef, Service, Snapshot, Tunnel, Workload};

/// The way through an instance of a waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    /// Where the instance takes HBONE.
    pub(super) hbone: SocketAddr,
    /// What it is asked to connect to: a port of the service.
    pub(super) authority: Authority,
}

impl Hop {
    /// What is addressed in the end; of a service without an address the port alone counts.
    pub(super) fn address(&self) -> SocketAddr {
        match &self.authority {
            Authority::Ip(address) => *address,
            Authority::Host { port, .. } => SocketAddr::new(self.hbone.ip(), *port),
        }
    }
}

/// Ways to `port` of `service` through the ready instances of its waypoint.
pub(super) fn ways<'a>(
    snapshot: &'a Snapshot,
    waypoint: &GatewayRef,
    service: &Service,
    port: u16,
) -> Vec<(&'a Arc<Workload>, Hop)> {
    let authority = match service.vips.first() {
        Some(vip) => Authority::Ip(SocketAddr::new(*vip, port)),
        None => Authority::Host {
            host: service.hostname.as_ref().into(),
            port,
        },
    };
    let way = |(workload, port): (&'a Arc<Workload>, u16)| {
        let hbone = SocketAddr::new(*workload.addresses().first()?, port);
        let authority = authority.clone();
        Some((workload, Hop { hbone, authority }))
    };
    instances(snapshot, waypoint)
        .into_iter()
        .filter(|(workload, _)| workload.healthy() && workload.tunnel() == Tunnel::Hbone)
        .filter_map(way)
        .collect()
}

/// A waypoint's instances, and the port at which each takes HBONE.
fn instances<'a>(snapshot: &'a Snapshot, waypoint: &GatewayRef) -> Vec<(&'a Arc<Workload>, u16)> {
    let port = waypoint.hbone_port;
    let service = match &waypoint.destination {
        GatewayDestination::Hostname {
            namespace,
            hostname,
        } => snapshot.service(&format!("{namespace}/{hostname}")),
        GatewayDestination::Address { ip, .. } => snapshot.service_by_vip(*ip),
    };
    match (service, &waypoint.destination) {
        (Some(service), _) => snapshot
            .endpoints(service, port)
            .map(|found| (found.workload, found.port))
            .collect(),
        (None, GatewayDestination::Address { ip, .. }) => {
            let workload = snapshot.workload_by_ip(*ip);
            workload
                .map(|workload| (workload, port))
                .into_iter()
                .collect()
        }
        (None, GatewayDestination::Hostname { .. }) => Vec::new(),
    }
}
