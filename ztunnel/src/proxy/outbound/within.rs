//! The same-node path: where both pods are served here, bytes need neither TLS nor frames.
//!
//! Invariants: it takes the steps of what arrives over HBONE, with the certificates that both ends would have shown, so
//! that policy decides alike; it is taken only where the mesh's settings allow it, and what goes this way ends when they
//! do not any more (`revoke`).

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_policy::DenyReason;

use super::connect::Missed;
use super::route::{Hop, Route, View, Way};
use crate::proxy::Context;
use crate::proxy::connections::Connection;
use crate::proxy::copy::{Far, Within};
use crate::proxy::inbound::identify;
use crate::proxy::neighbours::Neighbours;
use crate::proxy::passthrough::establish;
use crate::proxy::ports;
use crate::telemetry::{Direction, Facts};

/// Mark the hops of a route that may stay on this node.
pub(super) fn shorten(view: &View<'_>, neighbours: &Neighbours, mut route: Route) -> Route {
    if let Route::Direct(target) = &mut route {
        for hop in &mut target.hops {
            hop.neighbour = neighbour(view, neighbours, hop);
        }
    }
    route
}

fn neighbour(view: &View<'_>, neighbours: &Neighbours, hop: &Hop) -> Option<Arc<Context>> {
    let Way::Hbone {
        tunnel, authority, ..
    } = &hop.way
    else {
        return None;
    };
    let namespaces = (view.source.namespace(), hop.workload.namespace());
    let settings = view.snapshot.settings();
    if tunnel.port() != ports::HBONE || !settings.in_process(namespaces.0, namespaces.1) {
        return None;
    }
    let next = neighbours.at(authority.ip())?;
    let workload = next.pod.workload(view.snapshot)?;
    (workload.uid() == hop.workload.uid()).then_some(next)
}

/// Connect to the application of `next` at `to`, as the pod of `cx`.
pub(super) async fn enter(
    cx: &Context,
    outbound: &Connection,
    next: &Arc<Context>,
    to: SocketAddr,
    expected: &[SpiffeId],
) -> Result<Far, Missed> {
    let patience = cx.node.limits.certificate_wait;
    let own = cx.pod.certificate.ready(patience).await;
    let own = own.map_err(Missed::finally)?;
    let other = next.pod.certificate.ready(patience).await;
    let other = other.map_err(|reason| Missed::refused(reason.into()))?;
    if !expected.contains(&other.id) {
        return Err(Missed::finally(DenyReason::IdentityUnexpected));
    }
    let mut addresses = cx.pod.addresses().iter();
    let alike = addresses.find(|ip| ip.is_ipv4() == to.is_ipv4());
    let from = alike.ok_or_else(|| Missed::finally(DenyReason::ConnectFailed))?;
    let peer = identify::neighbour(&own, *from).map_err(Missed::finally)?;
    let facts = {
        let known = outbound.facts();
        let from = SocketAddr::new(*from, known.source_addr.port());
        Facts {
            within: true,
            source: known.source.clone(),
            destination: known.destination.clone(),
            service: known.service.clone(),
            ..Facts::new(Direction::Inbound, from, to)
        }
    };
    let inbound = next.pod.connections.open_beside(facts, outbound);
    let mut inbound = inbound.map_err(Missed::refused)?;
    // In the table first, then asked: a change that comes between is seen here or finds the connection there.
    let entered = if may_stay(cx, &inbound) {
        establish(next, &mut inbound, peer, to).await
    } else {
        Err(DenyReason::PathForbidden.into())
    };
    match entered {
        Ok(tunnel) => {
            let (app, stop) = tunnel.into_parts();
            Ok(Far::Within(Box::new(Within { inbound, app, stop })))
        }
        Err(denial) => {
            inbound.refused(&denial);
            Err(Missed::refused(denial))
        }
    }
}

fn may_stay(cx: &Context, inbound: &Connection) -> bool {
    let snapshot = cx.node.store.snapshot();
    inbound.facts().may_stay(snapshot.settings())
}
