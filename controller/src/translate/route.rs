//! HTTPRoutes and GRPCRoutes: what they are attached to and where they lead.

use culvert_proto::waypoint::{
    HttpMatch, HttpRoute, HttpRule, PathMatch, Retry, ValueMatch, path_match, value_match,
};

use super::backend::Context;
use super::finding::Finding;
use super::resource::{Message, Resource};
use super::{names, resilience, route_filter};
use crate::api::{self, HttpRouteSpec, MatchType, PathMatchType, RouteMatch, RouteRule};
use crate::model::{Key, Kind, Meta, NsName, Obj};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// If a route does not say.
const ATTEMPTS: u32 = 2;

/// A route, and whom it concerns.
#[derive(Debug, Default)]
pub struct Translated {
    /// None if it is attached to nothing.
    pub resource: Option<Resource>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Services and entries that it is attached to.
    pub parents: Vec<Consumer>,
    /// Services and entries that it leads to.
    pub backends: Vec<Consumer>,
    /// Listeners that it is attached to, by their Gateway's name and their own.
    pub attached: Vec<(NsName, String)>,
}

impl Translated {
    /// Of what was found out, and the route itself.
    pub(super) fn of(context: Context<'_>, resource: Resource) -> Self {
        let parents = context.parents;
        let attached = !parents.services.is_empty() || !parents.listeners.is_empty();
        Self {
            resource: attached.then_some(resource),
            findings: context.findings.into_vec(),
            parents: parents.services,
            backends: context.backends,
            attached: parents.attached,
        }
    }
}

/// One route.
#[must_use]
pub fn of(world: &World, kind: Kind, route: &Obj<HttpRouteSpec>) -> Translated {
    let (name, spec) = (&route.meta.name, &route.spec);
    let key = Key {
        kind,
        name: name.clone(),
    };
    let mut context = Context::new(world, key, &spec.parent_refs, &spec.hostnames);
    let at = FieldPath::of("spec.rules");
    let rules = spec.rules.iter().enumerate();
    let rules = rules.map(|(i, r)| rule(&mut context, r, &at.index(i)));
    let rules = rules.collect();
    let parents = &mut context.parents;
    let record = HttpRoute {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        created: created(&route.meta),
        rules,
        parents: std::mem::take(&mut parents.own),
        hostnames: spec.hostnames.clone(),
        grpc: kind == Kind::GrpcRoute,
        consumed: std::mem::take(&mut parents.consumed),
        listeners: parents.listeners.clone(),
    };
    let resource = Resource {
        name: names::route(&context.route).into(),
        aliases: Vec::new(),
        message: Message::HttpRoute(record),
    };
    Translated::of(context, resource)
}

/// When an object was made, as the wire has it.
pub(super) fn created(meta: &Meta) -> String {
    meta.created
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn rule(context: &mut Context<'_>, rule: &RouteRule, at: &FieldPath) -> HttpRule {
    let timeouts = rule.timeouts.unwrap_or_default();
    let backends = rule.backend_refs.iter().enumerate();
    HttpRule {
        name: rule.name.clone().unwrap_or_default(),
        matches: rule.matches.iter().map(http_match).collect(),
        filters: route_filter::all(context, &rule.filters, &at.key("filters")),
        backends: backends
            .map(|(i, b)| context.backend(b, &at.key("backendRefs").index(i)))
            .collect(),
        request_timeout: timeouts.request.map(duration),
        backend_request_timeout: timeouts.backend_request.map(duration),
        retry: rule.retry.as_ref().map(|retry| Retry {
            attempts: retry.attempts.unwrap_or(ATTEMPTS),
            codes: retry.codes.iter().copied().map(Into::into).collect(),
            // Connections that fail, and tries that time out: without saying so, as the Gateway API has it.
            conditions: ["connect-failure", "reset", "per-try-timeout"]
                .map(Into::into)
                .into(),
            backoff: retry.backoff.map(duration),
            per_try_timeout: None,
        }),
        session_persistence: rule.session_persistence.as_ref().map(resilience::session),
    }
}

fn http_match(m: &RouteMatch) -> HttpMatch {
    let path = m.path.as_ref().map(|path| PathMatch {
        kind: Some(match path.kind {
            PathMatchType::Exact => path_match::Kind::Exact(path.value.clone()),
            PathMatchType::PathPrefix => path_match::Kind::Prefix(path.value.clone()),
            PathMatchType::RegularExpression => path_match::Kind::Regex(path.value.clone()),
        }),
    });
    HttpMatch {
        path,
        headers: headers(&m.headers),
        query_params: values(&m.query_params, Clone::clone),
        method: m.method.clone().unwrap_or_default(),
    }
}

/// Matches of headers, whose names are the same in any case.
pub(super) fn headers(list: &[api::ValueMatch]) -> Vec<ValueMatch> {
    values(list, |name| name.to_ascii_lowercase())
}

/// Of several for one name the first counts.
fn values(list: &[api::ValueMatch], canonical: impl Fn(&String) -> String) -> Vec<ValueMatch> {
    let mut values: Vec<ValueMatch> = Vec::new();
    for value in list {
        let name = canonical(&value.name);
        if values.iter().all(|known| known.name != name) {
            let kind = Some(match value.kind {
                MatchType::Exact => value_match::Kind::Exact(value.value.clone()),
                MatchType::RegularExpression => value_match::Kind::Regex(value.value.clone()),
            });
            values.push(ValueMatch { name, kind });
        }
    }
    values
}

/// As the wire has it.
pub(super) fn duration(duration: api::Duration) -> prost_types::Duration {
    // At most 4 * 99999 h, far below the wire's limit.
    prost_types::Duration::try_from(duration.get()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
