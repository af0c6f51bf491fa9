//! Where a connection of a local application goes: decided once, from one snapshot, before anything is dialled.
//!
//! Invariants: pure, so that every outcome is in a table of its tests; inside the cluster's ranges an address that
//! nobody knows is refused; a waypoint that is named is used or the connection is refused; a workload in the mesh is
//! never dialled in plain text; no route leads back into the mesh's own ports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_policy::DenyReason;
use culvert_xds::state::{GatewayDestination, GatewayRef, Service, Snapshot, Tunnel, Workload};
use smallvec::SmallVec;

use crate::proxy::Context;
use crate::proxy::load::Load;
use crate::proxy::ports;

use super::endpoints;

/// The way of one connection.
#[derive(Debug)]
pub(crate) enum Route {
    /// Not the mesh's: dial it as the application did.
    Passthrough(SocketAddr),
    /// To an endpoint of the destination.
    Direct(Target),
    /// To an instance of the destination's waypoint.
    Waypoint(Target),
    /// Into another network, by a tunnel in a tunnel. Not built yet, so it is refused.
    DoubleHbone,
    /// Nowhere.
    Refuse(DenyReason),
}

/// What the destination is, and where to try it, the best first.
#[derive(Debug)]
pub(crate) struct Target {
    /// The service that the application asked for.
    pub(crate) service: Option<Arc<Service>>,
    /// Never empty.
    pub(crate) hops: Vec<Hop>,
}

/// One workload, and how to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) workload: Arc<Workload>,
    pub(crate) way: Way,
    /// The pod, if it is one of this node and may be reached without the network.
    pub(crate) neighbour: Option<Arc<Context>>,
}

/// How a workload is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By CONNECT to `authority` in a tunnel to `tunnel`, whose end must be one of `expected`.
    Hbone {
        tunnel: SocketAddr,
        authority: SocketAddr,
        expected: SmallVec<[SpiffeId; 1]>,
    },
    /// As it is: the workload is not in the mesh.
    Plaintext(SocketAddr),
    /// The same at this port of whatever the name leads to.
    Named { name: Arc<str>, port: u16 },
}

impl Hop {
    /// Whether it is reached by a CONNECT.
    pub(crate) fn is_tunnelled(&self) -> bool {
        matches!(self.way, Way::Hbone { .. }) && self.neighbour.is_none()
    }
}

impl Route {
    /// Connections of equal keys are carried by one core: those of a pod to one workload share tunnels there, others are
    /// spread.
    pub(crate) fn key(&self, pod: &Arc<str>, client: SocketAddr) -> Key {
        let hop = match self {
            Self::Direct(target) | Self::Waypoint(target) => target.hops.first(),
            Self::Passthrough(_) | Self::DoubleHbone | Self::Refuse(_) => None,
        };
        match hop {
            Some(Hop {
                workload,
                way: Way::Hbone { .. },
                neighbour: None,
            }) => Key::Tunnel(pod.clone(), workload.uid().clone()),
            _ => Key::Connection(client),
        }
    }
}

/// See [`Route::key`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Tunnel(Arc<str>, Arc<str>),
    Connection(SocketAddr),
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// The workload that dials.
    pub(crate) source: &'a Workload,
    pub(crate) load: &'a Load,
}

/// Route a connection to `dst`.
pub(crate) fn route(view: &View<'_>, dst: SocketAddr) -> Route {
    let ip = dst.ip();
    if ip.is_loopback() || ip.is_unspecified() || dst.port() == 0 {
        return Route::Refuse(DenyReason::SelfCall);
    }
    if view.source.addresses().contains(&ip) && ports::is_own(dst.port()) {
        return Route::Refuse(DenyReason::SelfCall);
    }
    if let Some(service) = view.snapshot.service_at(ip, view.source.namespace()) {
        return to_service(view, service, dst);
    }
    if let Some(workload) = view.snapshot.workload_by_ip(ip) {
        return to_workload(view, workload, dst);
    }
    if view.snapshot.in_cluster(ip) {
        return Route::Refuse(DenyReason::DestinationUnknown);
    }
    Route::Passthrough(dst)
}

fn to_service(view: &View<'_>, service: &Arc<Service>, dst: SocketAddr) -> Route {
    if service.port(dst.port()).is_none() {
        return Route::Refuse(DenyReason::PortUnknown);
    }
    if let Some(gateway) = &service.waypoint {
        return to_waypoint(view, gateway, Some(service), dst);
    }
    let endpoints = endpoints::choose(view, service, dst.port());
    let hops = endpoints.iter().map(|endpoint| {
        hop(
            view,
            endpoint.workload,
            endpoint.port,
            dst.ip(),
            &service.identities,
        )
    });
    match first_or_reason(view, hops) {
        Ok(hops) => Route::Direct(Target {
            service: Some(service.clone()),
            hops,
        }),
        Err(route) => route,
    }
}

fn to_workload(view: &View<'_>, workload: &Arc<Workload>, dst: SocketAddr) -> Route {
    if let Some(gateway) = workload.waypoint() {
        return to_waypoint(view, gateway, None, dst);
    }
    if workload.network() != view.source.network() {
        return Route::DoubleHbone;
    }
    let hop = hop(view, workload, dst.port(), dst.ip(), &[]);
    match first_or_reason(view, [hop].into_iter()) {
        Ok(hops) => Route::Direct(Target {
            service: None,
            hops,
        }),
        Err(route) => route,
    }
}

/// Every instance is known, in the mesh and healthy, or there is no way.
fn to_waypoint(
    view: &View<'_>,
    gateway: &GatewayRef,
    service: Option<&Arc<Service>>,
    dst: SocketAddr,
) -> Route {
    let by_service = |service: &Arc<Service>| {
        let chosen = endpoints::choose(view, service, gateway.hbone_port);
        chosen
            .into_iter()
            .map(|endpoint| (endpoint.workload.clone(), endpoint.port))
            .collect()
    };
    let instances: SmallVec<[(Arc<Workload>, u16); 1]> = match &gateway.destination {
        GatewayDestination::Address { network, .. }
            if network != view.source.network() && !network.is_empty() =>
        {
            return Route::DoubleHbone;
        }
        GatewayDestination::Address { ip, .. } => match view.snapshot.service_by_vip(*ip) {
            Some(service) => by_service(service),
            None => {
                let instance = view
                    .snapshot
                    .workload_by_ip(*ip)
                    .filter(|workload| workload.healthy());
                instance
                    .map(|workload| (workload.clone(), gateway.hbone_port))
                    .into_iter()
                    .collect()
            }
        },
        GatewayDestination::Hostname {
            namespace,
            hostname,
        } => {
            let service = view.snapshot.service(&format!("{namespace}/{hostname}"));
            service.map(by_service).unwrap_or_default()
        }
    };
    let hops: Vec<_> = instances
        .into_iter()
        .filter(|(workload, _)| workload.tunnel() == Tunnel::Hbone)
        .filter_map(|(workload, port)| {
            let tunnel = SocketAddr::new(address(&workload, dst.ip())?, port);
            let expected = SmallVec::from_elem(workload.identity().clone(), 1);
            Some(Hop {
                workload,
                way: Way::Hbone {
                    tunnel,
                    authority: dst,
                    expected,
                },
                neighbour: None,
            })
        })
        .collect();
    if hops.is_empty() {
        return Route::Refuse(DenyReason::WaypointUnavailable);
    }
    Route::Waypoint(Target {
        service: service.cloned(),
        hops,
    })
}

/// How to reach `port` of a workload without a waypoint; `also` are identities that it may have besides its own.
fn hop(
    view: &View<'_>,
    workload: &Arc<Workload>,
    port: u16,
    like: IpAddr,
    also: &[SpiffeId],
) -> Result<Hop, DenyReason> {
    let name = workload.hostname();
    if workload.addresses().is_empty() && !name.is_empty() && workload.tunnel() == Tunnel::None {
        let name = name.clone();
        return Ok(Hop {
            workload: workload.clone(),
            way: Way::Named { name, port },
            neighbour: None,
        });
    }
    let ip = address(workload, like).ok_or(DenyReason::NoEndpoint)?;
    if workload.external() && !view.snapshot.is_outside(ip) {
        return Err(DenyReason::NoEndpoint);
    }
    let authority = SocketAddr::new(ip, port);
    let way = match workload.tunnel() {
        Tunnel::None => Way::Plaintext(authority),
        Tunnel::Hbone if ports::is_own(port) => return Err(DenyReason::SelfCall),
        Tunnel::Hbone => Way::Hbone {
            tunnel: SocketAddr::new(ip, ports::HBONE),
            authority,
            expected: [workload.identity()]
                .into_iter()
                .chain(also)
                .cloned()
                .collect(),
        },
    };
    Ok(Hop {
        workload: workload.clone(),
        way,
        neighbour: None,
    })
}

/// The hops that there are, or why there is none.
fn first_or_reason(
    view: &View<'_>,
    hops: impl Iterator<Item = Result<Hop, DenyReason>>,
) -> Result<Vec<Hop>, Route> {
    let mut reason = DenyReason::NoEndpoint;
    let mut elsewhere = false;
    let mut found = Vec::new();
    for hop in hops {
        match hop {
            Ok(hop) if hop.workload.network() != view.source.network() => elsewhere = true,
            Ok(hop) => found.push(hop),
            Err(why) => reason = why,
        }
    }
    match (found.is_empty(), elsewhere) {
        (false, _) => Ok(found),
        (true, true) => Err(Route::DoubleHbone),
        (true, false) => Err(Route::Refuse(reason)),
    }
}

/// The workload's address of the same family as `like`, or whichever it has.
fn address(workload: &Workload, like: IpAddr) -> Option<IpAddr> {
    let same = workload
        .addresses()
        .iter()
        .find(|ip| ip.is_ipv4() == like.is_ipv4());
    same.or(workload.addresses().first()).copied()
}

#[cfg(test)]
mod tests;
