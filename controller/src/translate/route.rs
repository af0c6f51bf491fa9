//! HTTPRoutes and GRPCRoutes: what they are attached to and where they lead.

use culvert_proto::waypoint::{
    HttpBackend, HttpMatch, HttpRoute, HttpRule, PathMatch, Retry, ServiceRef, ValueMatch,
    http_backend::Target, path_match, value_match,
};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use super::waypoint::Use;
use super::{names, refs, route_filter, waypoint};
use crate::api::{self, HttpRouteSpec, MatchType, ParentRef, PathMatchType, RouteMatch, RouteRule};
use crate::model::{Key, Kind, NsName, Obj};
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
    /// Services that it is attached to.
    pub parents: Vec<NsName>,
    /// Services that it leads to.
    pub backends: Vec<NsName>,
}

/// One route.
#[must_use]
pub fn of(world: &World, kind: Kind, route: &Obj<HttpRouteSpec>) -> Translated {
    let (name, spec) = (&route.meta.name, &route.spec);
    let key = Key {
        kind,
        name: name.clone(),
    };
    let mut context = Context {
        world,
        namespace: &name.namespace,
        findings: Findings::new(key.clone()),
        parents: Vec::new(),
        backends: Vec::new(),
    };
    let (mut references, mut consumed) = (Vec::new(), Vec::new());
    for (i, parent) in spec.parent_refs.iter().enumerate() {
        let at = FieldPath::of("spec.parentRefs").index(i);
        if let Some((service, reference)) = context.parent(parent, &at) {
            let own = service.namespace == name.namespace;
            if own { &mut references } else { &mut consumed }.push(reference);
            context.parents.push(service);
        }
    }
    if context.parents.is_empty() {
        let (programmed, at) = (ConditionType::Programmed, FieldPath::of("spec.parentRefs"));
        let message = "the route is attached to no Service of the mesh";
        context.findings.note(programmed, "NoParent", at, message);
    }
    let rules = FieldPath::of("spec.rules");
    let rules = spec
        .rules
        .iter()
        .enumerate()
        .map(|(i, rule)| context.rule(rule, &rules.index(i)));
    let record = HttpRoute {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        created: route
            .meta
            .created
            .map(|time| time.to_string())
            .unwrap_or_default(),
        rules: rules.collect(),
        parents: references,
        hostnames: spec.hostnames.clone(),
        grpc: kind == Kind::GrpcRoute,
        consumed,
        listeners: Vec::new(),
    };
    let resource = Resource {
        name: names::route(&key).into(),
        aliases: Vec::new(),
        message: Message::HttpRoute(record),
    };
    Translated {
        resource: (!context.parents.is_empty()).then_some(resource),
        findings: context.findings.into_vec(),
        parents: context.parents,
        backends: context.backends,
    }
}

/// While one route is translated.
pub(super) struct Context<'a> {
    world: &'a World,
    namespace: &'a str,
    findings: Findings,
    parents: Vec<NsName>,
    backends: Vec<NsName>,
}

impl Context<'_> {
    fn parent(&mut self, parent: &ParentRef, at: &FieldPath) -> Option<(NsName, ServiceRef)> {
        let accepted = ConditionType::Accepted;
        let (group, kind) = (parent.group.as_deref(), parent.kind.as_deref());
        let is_service = matches!(group, Some("" | "core")) && kind == Some("Service");
        let namespace = parent.namespace.as_deref().unwrap_or(self.namespace);
        let name = NsName::new(namespace, parent.name.as_str());
        if !is_service {
            let ours = self
                .world
                .cache
                .gateways
                .get(&name)
                .is_some_and(|g| g.spec.waypoint.is_some());
            if ours || kind == Some("Service") {
                let message =
                    "a route of the mesh is attached to Services: group \"\", kind Service";
                self.findings
                    .error(accepted, "InvalidParent", at.clone(), message);
            }
            // Another gateway's route is someone else's matter.
            return None;
        }
        let Some(service) = refs::find(self.world, &name) else {
            let message = format!("there is no Service {name}");
            self.findings
                .error(accepted, "NoMatchingParent", at.key("name"), message);
            return None;
        };
        if let Some(port) = parent.port
            && service.spec.port(port.get()).is_none()
        {
            let message = format!("Service {name} has no port {}", port.get());
            self.findings
                .error(accepted, "NoMatchingParent", at.key("port"), message);
            return None;
        }
        self.programmed(&name, at);
        let reference = ServiceRef {
            service: names::service(&self.world.settings, &name),
            port: parent.port.map_or(0, |port| port.get().into()),
        };
        Some((name, reference))
    }

    fn programmed(&mut self, service: &NsName, at: &FieldPath) {
        let (reason, message) =
            match waypoint::of(self.world, &Consumer::Service(service.clone())).0 {
                Use::Through(..) => return,
                Use::None => (
                    "NoWaypoint",
                    format!("Service {service} has no waypoint: the route has no effect on it"),
                ),
                Use::Pending(gateway) => (
                    "Pending",
                    format!("waypoint {gateway} does not serve Service {service} yet"),
                ),
                Use::Refused(gateway, _) => (
                    "WaypointGone",
                    format!("waypoint {gateway} of Service {service} cannot be reached"),
                ),
            };
        self.findings
            .note(ConditionType::Programmed, reason, at.clone(), message);
    }

    fn rule(&mut self, rule: &RouteRule, at: &FieldPath) -> HttpRule {
        let timeouts = rule.timeouts.unwrap_or_default();
        let backends = rule.backend_refs.iter().enumerate();
        HttpRule {
            name: rule.name.clone().unwrap_or_default(),
            matches: rule.matches.iter().map(http_match).collect(),
            filters: route_filter::all(self, &rule.filters, &at.key("filters")),
            backends: backends
                .map(|(i, b)| self.backend(b, &at.key("backendRefs").index(i)))
                .collect(),
            request_timeout: timeouts.request.map(duration),
            backend_request_timeout: timeouts.backend_request.map(duration),
            retry: rule.retry.as_ref().map(|retry| Retry {
                attempts: retry.attempts.unwrap_or(ATTEMPTS),
                codes: retry.codes.iter().copied().map(Into::into).collect(),
                conditions: vec!["connect-failure".into(), "reset".into()],
                backoff: retry.backoff.map(duration),
                per_try_timeout: None,
            }),
        }
    }

    pub(super) fn backend(&mut self, backend: &api::BackendRef, at: &FieldPath) -> HttpBackend {
        let target = match self.resolve(backend) {
            Ok((service, reference)) => {
                self.backends.push(service);
                Target::Service(reference)
            }
            Err((field, reason, message)) => {
                let field = at.key(field);
                self.findings
                    .error(ConditionType::ResolvedRefs, reason, field, message.clone());
                Target::Unresolved(message)
            }
        };
        HttpBackend {
            target: Some(target),
            weight: backend.weight.unwrap_or(1),
            filters: route_filter::all(self, &backend.filters, &at.key("filters")),
        }
    }

    fn resolve(
        &self,
        backend: &api::BackendRef,
    ) -> Result<(NsName, ServiceRef), (&'static str, &'static str, String)> {
        let (group, kind) = (backend.group.as_deref(), backend.kind.as_deref());
        if !matches!(
            (group, kind),
            (None | Some("" | "core"), None | Some("Service"))
        ) {
            let message = format!(
                "{}/{} is no Service",
                group.unwrap_or_default(),
                kind.unwrap_or_default()
            );
            return Err(("kind", "InvalidKind", message));
        }
        let namespace = backend.namespace.as_deref().unwrap_or(self.namespace);
        let name = NsName::new(namespace, backend.name.as_str());
        // Clients that a consumer route is for may call the service that it is about without any route.
        if namespace != self.namespace && !self.parents.contains(&name) {
            let message =
                format!("Service {name} is in another namespace, which does not permit it");
            return Err(("namespace", "RefNotPermitted", message));
        }
        let Some(service) = refs::find(self.world, &name) else {
            return Err((
                "name",
                "BackendNotFound",
                format!("there is no Service {name}"),
            ));
        };
        let Some(port) = backend.port.map(api::Port::get) else {
            return Err((
                "port",
                "BackendNotFound",
                format!("the port of Service {name} is missing"),
            ));
        };
        if service.spec.port(port).is_none() {
            return Err((
                "port",
                "BackendNotFound",
                format!("Service {name} has no port {port}"),
            ));
        }
        let reference = ServiceRef {
            service: names::service(&self.world.settings, &name),
            port: port.into(),
        };
        Ok((name, reference))
    }

    /// A filter that this version does not have.
    pub(super) fn unsupported(&mut self, at: &FieldPath, message: String) {
        self.findings.error(
            ConditionType::Accepted,
            "UnsupportedValue",
            at.clone(),
            message,
        );
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
