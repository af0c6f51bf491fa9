//! pick: a backend by weight, then one of its endpoints by load.
//!
//! Invariant: an endpoint is only ever reached with a permit for this client, asked of the endpoint's own policies.

use std::rc::Rc;
use std::sync::Arc;

use culvert_xds::state::Snapshot;
use http::HeaderMap;

use super::affinity::{self, Affinity};
use super::matching::Matched;
use super::refusal::Refusal;
use super::session::{self, Marker, Token};
use crate::config::ServiceRef;
use crate::config::filter::Filters;
use crate::config::persistence::Persistence;
use crate::destination::Destination;
use crate::permit::Permit;
use crate::routes::{BackendPlan, Found, Settings};
use crate::telemetry::Record;
use crate::upstream::balance;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::{EndpointSet, Wanted};
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
    /// What the request says of its endpoint.
    pub affinity: Affinity<'a>,
}

/// Picks the backend of the rule, or the destination itself where no route is attached.
pub(super) fn backend<'a>(
    session: &Session,
    snapshot: &Snapshot,
    matched: Matched<'a>,
    headers: &HeaderMap,
) -> Result<Backend<'a>, Refusal> {
    let found = match matched {
        Matched::Rule(found) => found,
        Matched::Direct(config) => return Ok(direct(session, snapshot, &config.direct, headers)),
    };
    let read = |persistence: &Persistence| Token::read(persistence, headers, affinity::now());
    let token = found.rule.persistence().and_then(read);
    let kept = match token {
        Some(token) => of_session(session, snapshot, found, token),
        None if found.rule.has_sessions_of_backends() => {
            of_backends(session, snapshot, found, read)
        }
        None => None,
    };
    let plan = match kept {
        Some(plan) => plan,
        None => weighted(&found.rule.backends()).map_err(Refusal::Unresolved)?,
    };
    let rule = found.rule.persistence();
    let (persistence, token) = match plan.settings.persistence.as_deref() {
        Some(persistence) if rule.is_none() => (Some(persistence), read(persistence)),
        _ => (rule, token),
    };
    if let Some(reason) = &plan.backend.filters.unresolved {
        return Err(Refusal::Unresolved(reason.clone()));
    }
    let backend = service(session, snapshot, plan).map_err(Refusal::Unresolved)?;
    let affinity = match (persistence, &plan.backend.target) {
        (Some(persistence), Ok(target)) => Affinity::of_session(persistence, token, target),
        _ => Affinity::default(),
    };
    Ok(Backend {
        filters: [Some(found.rule.filters()), Some(&*plan.backend.filters)],
        prefix: found.prefix,
        affinity,
        ..backend
    })
}

/// One of the backends, by weight, or why there is none.
pub(crate) fn weighted<'a>(
    backends: &(impl Iterator<Item = BackendPlan<'a>> + Clone),
) -> Result<BackendPlan<'a>, String> {
    let weights = backends.clone().map(|plan| plan.backend.weight);
    balance::weighted(weights, &mut rand::rng())
        .and_then(|index| backends.clone().nth(index))
        .ok_or_else(|| "no backend of the rule has a weight".to_owned())
}

/// The service of a route's backend, or why there is none.
pub(crate) fn service<'a>(
    session: &Session,
    snapshot: &Snapshot,
    BackendPlan { backend, settings }: BackendPlan<'a>,
) -> Result<Backend<'a>, String> {
    let target = backend.target.as_ref().map_err(String::clone)?;
    if snapshot.service(&target.service).is_none() {
        return Err(format!("service {} is not known", target.service));
    }
    let core = &session.core;
    Ok(Backend {
        name: Arc::clone(&target.service),
        endpoints: core.endpoints.of_service(snapshot, target, &core.series),
        settings,
        filters: [None, None],
        prefix: "",
        affinity: Affinity::default(),
    })
}

/// The rule's backend that a session is at, if requests may go there and its endpoint is still there.
fn of_session<'a>(
    session: &Session,
    snapshot: &Snapshot,
    found: Found<'a>,
    token: Token,
) -> Option<BackendPlan<'a>> {
    let mut backends = found.rule.backends();
    backends.find(|plan| is_at(session, snapshot, plan, token))
}

/// Whether a session is at this backend, requests may go there, and its endpoint is still there.
fn is_at(
    session: &Session,
    snapshot: &Snapshot,
    BackendPlan { backend, .. }: &BackendPlan<'_>,
    token: Token,
) -> bool {
    let core = &session.core;
    backend.weight > 0
        && backend.target.as_ref().is_ok_and(|target| {
            let set = || core.endpoints.of_service(snapshot, target, &core.series);
            session::backend(target) == token.backend && set().has(token.endpoint)
        })
}

/// The backend that a session is at, if it is one of those that keep sessions by themselves.
fn of_backends<'a>(
    session: &Session,
    snapshot: &Snapshot,
    found: Found<'a>,
    read: impl Fn(&Persistence) -> Option<Token>,
) -> Option<BackendPlan<'a>> {
    found.rule.backends().find(|plan| {
        let token = plan.settings.persistence.as_deref().and_then(&read);
        token.is_some_and(|token| is_at(session, snapshot, plan, token))
    })
}

/// The destination itself as a backend, with its sessions.
fn direct<'a>(
    session: &Session,
    snapshot: &Snapshot,
    settings: &'a Settings,
    headers: &HeaderMap,
) -> Backend<'a> {
    let backend = destination(session, snapshot, settings);
    let (Some(persistence), Destination::Service { service, port }) =
        (settings.persistence.as_deref(), &*session.destination)
    else {
        return backend;
    };
    let target = ServiceRef {
        service: Arc::clone(&service.key),
        port: *port,
    };
    let token = Token::read(persistence, headers, affinity::now());
    Backend {
        affinity: Affinity::of_session(persistence, token, &target),
        ..backend
    }
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
        // Routes alone say what is behind a gateway: without one there is nothing.
        Destination::Gateway(arrival) => (&arrival.gateway, EndpointSet::nobody()),
    };
    Backend {
        name: Arc::clone(name),
        endpoints,
        settings,
        filters: [None, None],
        prefix: "",
        affinity: Affinity::default(),
    }
}

/// Picks an endpoint that was not tried if there is one, and asks for leave to send to it.
pub(super) fn endpoint(
    session: &Session,
    backend: &Backend<'_>,
    tried: &[Rc<Endpoint>],
    record: &mut Record,
) -> Result<Permit, Refusal> {
    let affinity = &backend.affinity;
    let wanted = Wanted {
        key: affinity.key,
        session: affinity.session.as_ref().and_then(Marker::endpoint),
        ..backend.settings.wanted()
    };
    let picked = backend.endpoints.pick(&wanted, tried, &mut rand::rng());
    let endpoint = picked.ok_or(Refusal::NoEndpoint)?;
    record.endpoint = Some(Arc::clone(endpoint.uid()));
    record.destination = endpoint.labels();
    Ok(session.grant(endpoint)?)
}
