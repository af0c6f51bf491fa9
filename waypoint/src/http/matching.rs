//! match: which rule serves the request.
//!
//! Invariant: where routes are attached, only what one of them matches goes on. At a gateway's port, the listener to which
//! the request's host belongs has it to itself, and nothing goes on without a route.

use std::sync::Arc;

use super::decode::Decoded;
use super::normalise::Target;
use super::refusal::Refusal;
use crate::config::fault::FaultPolicy;
use crate::config::gateway::Protocol;
use crate::config::matcher::Head;
use crate::destination::{Arrival, Destination};
use crate::routes::{Found, ListenerPlan, PortConfig, Routes};
use crate::world::Session;

/// What says where a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Matched<'a> {
    /// A rule.
    Rule(Found<'a>),
    /// Nobody: no route is attached, and the request goes straight to what the client addressed.
    Direct(&'a PortConfig),
}

impl<'a> Matched<'a> {
    /// The rule, if it is one.
    pub(super) fn rule(self) -> Option<Found<'a>> {
        match self {
            Self::Rule(found) => Some(found),
            Self::Direct(_) => None,
        }
    }

    /// What is to fail on purpose.
    pub(super) fn faults(self) -> &'a [Arc<FaultPolicy>] {
        match self {
            Self::Rule(found) => found.rule.faults(),
            Self::Direct(config) => &config.faults,
        }
    }
}

/// What serves the session's request.
pub(super) fn find<'a>(
    session: &Session,
    routes: &'a Routes,
    decoded: &Decoded,
    target: Target<'_>,
) -> Result<Matched<'a>, Refusal> {
    let table = match &*session.destination {
        Destination::Gateway(arrival) => &listener(routes, arrival, decoded.host_name())?.http,
        Destination::Service { .. } | Destination::Workload { .. } => {
            let config = session.config(routes);
            match config.table(session.client.namespace()) {
                Some(table) => table,
                None => return Ok(Matched::Direct(config)),
            }
        }
    };
    let head = Head {
        method: &decoded.parts.method,
        path: target.path,
        query: target.query,
        headers: &decoded.parts.headers,
    };
    table
        .find(decoded.host_name(), &head)
        .map(Matched::Rule)
        .ok_or(Refusal::NoRoute)
}

/// The listener to which the host belongs, if this connection may speak to it.
fn listener<'a>(
    routes: &'a Routes,
    arrival: &Arrival,
    host: &str,
) -> Result<&'a ListenerPlan, Refusal> {
    let gateway = routes.gateway.as_ref().ok_or(Refusal::NoRoute)?;
    let listener = gateway.listener(arrival.address.port(), host);
    let listener = listener.ok_or(Refusal::NoRoute)?;
    match (&arrival.tls, &listener.config.protocol) {
        (Some(shaken), _) if *shaken != listener.config.name => Err(Refusal::Misdirected),
        (Some(_), Protocol::Https(_)) | (None, Protocol::Http) => match listener.unresolved() {
            Some(reason) => Err(Refusal::Unresolved(reason.to_owned())),
            None => Ok(listener),
        },
        // The port speaks something else by now.
        _ => Err(Refusal::NoRoute),
    }
}
