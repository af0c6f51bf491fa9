//! References from one object to another, and what becomes of those that lead nowhere.

use culvert_proto::waypoint::ServiceRef;

use super::finding::{ConditionType, Findings};
use super::names;
use crate::api::TargetRef;
use crate::model::{Key, Kind, NsName, Obj, Service};
use crate::path::FieldPath;
use crate::world::World;

/// Services and routes that a policy is for.
#[derive(Debug, Default)]
pub struct Targets {
    /// As the wire has them.
    pub services: Vec<ServiceRef>,
    /// Their names.
    pub service_names: Vec<NsName>,
    /// `NAMESPACE/NAME` of HTTPRoutes, `GRPCRoute/NAMESPACE/NAME` of others.
    pub routes: Vec<String>,
    /// Their names.
    pub route_keys: Vec<Key>,
}

impl Targets {
    /// Whether nothing that it is for exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.routes.is_empty()
    }
}

/// What exists of the services and routes that a policy names.
pub fn targets(
    world: &World,
    namespace: &str,
    refs: &[TargetRef],
    findings: &mut Findings,
) -> Targets {
    let mut targets = Targets::default();
    for (i, target) in refs.iter().enumerate() {
        let at = FieldPath::of("spec.targetRefs").index(i);
        let name = NsName::new(namespace, target.name.as_str());
        match target.kind.as_str() {
            "Service" => {
                if let Some(service) = service(world, target, &name, &at, findings) {
                    targets.services.push(service);
                    targets.service_names.push(name);
                }
            }
            "HTTPRoute" | "GRPCRoute" => {
                let (kind, text) = if target.kind == "HTTPRoute" {
                    (Kind::HttpRoute, name.to_string())
                } else {
                    (Kind::GrpcRoute, format!("GRPCRoute/{name}"))
                };
                let key = Key { kind, name };
                if world.cache.route(&key).is_some() {
                    targets.routes.push(text);
                    targets.route_keys.push(key);
                } else {
                    not_found(&at.key("name"), &target.kind, &key.name, findings);
                }
            }
            // A gateway is looked at by who may target one.
            _ => {}
        }
    }
    targets
}

fn service(
    world: &World,
    target: &TargetRef,
    name: &NsName,
    at: &FieldPath,
    findings: &mut Findings,
) -> Option<ServiceRef> {
    let Some(service) = world.cache.services.get(name) else {
        not_found(&at.key("name"), "Service", name, findings);
        return None;
    };
    let port = match &target.section_name {
        None => 0,
        Some(section) => {
            let port = service.spec.ports.iter().find(|port| port.name == *section);
            let Some(port) = port else {
                let message = format!("Service {name} has no port named {section:?}");
                findings.error(
                    ConditionType::ResolvedRefs,
                    "TargetNotFound",
                    at.key("sectionName"),
                    message,
                );
                return None;
            };
            port.port.into()
        }
    };
    Some(ServiceRef {
        service: names::service(&world.settings, name),
        port,
    })
}

pub(super) fn not_found(at: &FieldPath, kind: &str, name: &NsName, findings: &mut Findings) {
    let message = format!("there is no {kind} {name}");
    findings.error(
        ConditionType::ResolvedRefs,
        "TargetNotFound",
        at.clone(),
        message,
    );
}

/// Whether a reference of a route leads to a Gateway.
pub(super) fn is_gateway(group: Option<&str>, kind: Option<&str>) -> bool {
    matches!(group, None | Some("gateway.networking.k8s.io"))
        && matches!(kind, None | Some("Gateway"))
}

/// Whether an object of a kind may refer to this one, which is in its own namespace or in one that permits it.
#[must_use]
pub fn permitted(world: &World, from: Kind, namespace: &str, to: Kind, name: &NsName) -> bool {
    let mut grants = world.cache.grants.of(&name.namespace);
    *namespace == *name.namespace
        || grants.any(|grant| {
            let (from, to) = (from.as_str(), to.as_str());
            grant.spec.permits(from, namespace, to, &name.name)
        })
}

/// A service of a namespace by name, if it can be a backend or parent.
#[must_use]
pub fn find<'a>(world: &'a World, name: &NsName) -> Option<&'a Obj<Service>> {
    world
        .cache
        .services
        .get(name)
        .filter(|service| !service.spec.external_name)
        .map(|service| &**service)
}
