//! Where the rules of a route lead.
//!
//! Invariant: what leads nowhere, or where the route may not lead, is told to proxies as such and never left out.

use culvert_proto::waypoint::{HttpBackend, ServiceRef, http_backend::Target};

use super::addressed::{self, Addressed};
use super::finding::{ConditionType, Findings};
use super::parents::{self, Parents};
use super::{refs, route_filter};
use crate::api::{self, ParentRef};
use crate::model::{Key, NsName};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// While one route is translated.
pub(super) struct Context<'a> {
    world: &'a World,
    pub(super) route: Key,
    pub(super) findings: Findings,
    pub(super) parents: Parents,
    /// Services and entries that it leads to.
    pub(super) backends: Vec<Consumer>,
}

impl<'a> Context<'a> {
    /// Begin with what the route is attached to, for these hosts.
    pub(super) fn new(
        world: &'a World,
        route: Key,
        references: &[ParentRef],
        hostnames: &[String],
    ) -> Self {
        let mut findings = Findings::new(route.clone());
        let parents = parents::of(world, &route, references, hostnames, &mut findings);
        Self {
            world,
            route,
            findings,
            parents,
            backends: Vec::new(),
        }
    }

    /// One backend.
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
            filters: route_filter::of_backend(self, &backend.filters, &at.key("filters")),
        }
    }

    fn resolve(
        &self,
        backend: &api::BackendRef,
    ) -> Result<(Consumer, ServiceRef), (&'static str, &'static str, String)> {
        let (group, kind) = (backend.group.as_deref(), backend.kind.as_deref());
        let named = addressed::kind(group.or(Some("")), kind.or(Some("Service")));
        let Some(named) = named else {
            let message = format!(
                "{}/{} is no Service",
                group.unwrap_or_default(),
                kind.unwrap_or_default()
            );
            return Err(("kind", "InvalidKind", message));
        };
        let own = &self.route.name.namespace;
        let namespace = backend.namespace.as_deref().unwrap_or(own);
        let name = NsName::new(namespace, backend.name.as_str());
        let consumer = addressed::consumer(named, name);
        if !self.may_lead_to(&consumer) {
            let message = format!("{consumer} is in another namespace, which does not permit it");
            return Err(("namespace", "RefNotPermitted", message));
        }
        let missing = |field, message| (field, "BackendNotFound", message);
        let found = Addressed::find(self.world, &consumer)
            .ok_or_else(|| missing("name", format!("there is no {consumer}")))?;
        let port = backend.port.map(api::Port::get);
        let port =
            port.ok_or_else(|| missing("port", format!("the port of {consumer} is missing")))?;
        if found.port(port).is_none() {
            return Err(missing("port", format!("{consumer} has no port {port}")));
        }
        let mut references = found.references(self.world, port);
        match (references.pop(), references.is_empty()) {
            (Some(reference), true) => Ok((consumer, reference)),
            (None, _) => Err(missing("name", format!("no host of {consumer} is its own"))),
            (Some(_), false) => {
                let message = format!(
                    "{consumer} has several hosts, and to which of them the route leads cannot be told: write an entry for each"
                );
                Err(("name", "UnsupportedValue", message))
            }
        }
    }

    fn may_lead_to(&self, service: &Consumer) -> bool {
        // Clients that a consumer route is for may call the service that it is about without any route. Those of a gateway
        // may not.
        let consumed = self.parents.services.contains(service) && self.parents.listeners.is_empty();
        let (kind, namespace) = (self.route.kind, &self.route.name.namespace);
        consumed || refs::permitted(self.world, kind, namespace, service.kind(), service.name())
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
