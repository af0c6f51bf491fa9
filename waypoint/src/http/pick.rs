//! pick: a backend by weight, then one of its endpoints by load.
//!
//! Invariant: an endpoint is only ever reached with a permit for this client, asked of the endpoint's own policies.

use std::rc::Rc;
use std::sync::Arc;

use culvert_xds::state::Snapshot;

use super::refusal::Refusal;
use crate::config::ServiceRef;
use crate::config::filter::Filters;
use crate::destination::Destination;
use crate::permit::Permit;
use crate::routes::{BackendPlan, Found, Settings};
use crate::telemetry::Record;
use crate::upstream::balance;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::EndpointSet;
use crate::world::Session;

/// Where a request goes and what is done to it on the way.
#[derive(Debug)]
pub(crate) struct Backend<'a> {
    /// The service or workload, for logs and metrics.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Rc<EndpointSet>,
    /// How requests are sent.
    pub settings: &'a Settings,
    /// Filters of the rule, then of the backend.
    pub filters: [Option<&'a Filters>; 2],
    /// The path prefix that the match named.
    pub prefix: &'a str,
}

/// Picks the backend of the rule, or the destination itself where no route is attached.
pub(super) fn backend<'a>(
    session: &Session,
    snapshot: &Snapshot,
    found: Option<Found<'a>>,
    direct: &'a Settings,
) -> Result<Backend<'a>, Refusal> {
    let Some(found) = found else {
        return Ok(destination(session, snapshot, direct));
    };
    let weights = found.rule.backends().map(|plan| plan.backend.weight);
    let index = balance::weighted(weights, &mut rand::rng());
    let BackendPlan { backend, settings } = index
        .and_then(|index| found.rule.backends().nth(index))
        .ok_or_else(|| Refusal::Unresolved("no backend of the rule has a weight".to_owned()))?;
    let target = backend
        .target
        .as_ref()
        .map_err(|reason| Refusal::Unresolved(reason.clone()))?;
    if let Some(reason) = &backend.filters.unresolved {
        return Err(Refusal::Unresolved(reason.clone()));
    }
    if snapshot.service(&target.service).is_none() {
        return Err(Refusal::Unresolved(format!(
            "service {} is not known",
            target.service
        )));
    }
    Ok(Backend {
        name: Arc::clone(&target.service),
        endpoints: session
            .core
            .endpoints
            .of_service(snapshot, target, &session.core.series),
        settings,
        filters: [Some(found.rule.filters()), Some(&*backend.filters)],
        prefix: found.prefix,
    })
}

/// The destination itself as a backend.
pub(crate) fn destination<'a>(
    session: &Session,
    snapshot: &Snapshot,
    settings: &'a Settings,
) -> Backend<'a> {
    let core = &session.core;
    let (name, endpoints) = match &*session.destination {
        Destination::Service { service, port } => {
            let target = ServiceRef {
                service: Arc::clone(&service.key),
                port: *port,
            };
            (
                &service.key,
                core.endpoints.of_service(snapshot, &target, &core.series),
            )
        }
        Destination::Workload { workload, address } => (
            workload.uid(),
            core.endpoints
                .of_workload(snapshot, workload, *address, &core.series),
        ),
    };
    Backend {
        name: Arc::clone(name),
        endpoints,
        settings,
        filters: [None, None],
        prefix: "",
    }
}

/// Picks an endpoint that was not tried if there is one, and asks for leave to send to it.
pub(super) fn endpoint(
    session: &Session,
    backend: &Backend<'_>,
    tried: &[Rc<Endpoint>],
    record: &mut Record,
) -> Result<Permit, Refusal> {
    let picked = backend
        .endpoints
        .pick(backend.settings.balancer, tried, &mut rand::rng());
    let endpoint = picked.ok_or(Refusal::NoEndpoint)?;
    record.endpoint = Some(Arc::clone(endpoint.uid()));
    record.destination = endpoint.labels();
    Ok(session.grant(endpoint)?)
}
