//! References from one object to another, and what becomes of those that lead nowhere.

use culvert_proto::waypoint::ServiceRef;

use super::addressed::{self, Addressed};
use super::finding::{ConditionType, Findings};
use crate::api::TargetRef;
use crate::model::{Key, Kind, NsName};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// Services, entries and routes that a policy is for.
#[derive(Debug, Default)]
pub struct Targets {
    /// As the wire has them.
    pub services: Vec<ServiceRef>,
    /// Their names.
    pub service_names: Vec<Consumer>,
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

/// What exists of the services, entries and routes that a policy names.
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
            "Service" | "ServiceEntry" => {
                let kind = match target.kind.as_str() {
                    "Service" => Kind::Service,
                    _ => Kind::ServiceEntry,
                };
                let consumer = addressed::consumer(kind, name);
                if let Some(services) = service(world, target, &consumer, &at, findings) {
                    targets.services.extend(services);
                    targets.service_names.push(consumer);
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
    consumer: &Consumer,
    at: &FieldPath,
    findings: &mut Findings,
) -> Option<Vec<ServiceRef>> {
    // One that is but another name may be named, too: nothing ever comes of it.
    let name = consumer.name();
    let named = match consumer {
        Consumer::Service(name) => world
            .cache
            .services
            .get(name)
            .map(|o| Addressed::Service(o)),
        _ => Addressed::find(world, consumer),
    };
    let Some(named) = named else {
        not_found(&at.key("name"), &target.kind, name, findings);
        return None;
    };
    let port = match &target.section_name {
        None => 0,
        Some(section) => {
            let Some(port) = named.port_named(section) else {
                let message = format!("{consumer} has no port named {section:?}");
                findings.error(
                    ConditionType::ResolvedRefs,
                    "TargetNotFound",
                    at.key("sectionName"),
                    message,
                );
                return None;
            };
            port.port
        }
    };
    Some(named.references(world, port))
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

/// Whether a reference of a route leads to a ListenerSet.
pub(super) fn is_listener_set(group: Option<&str>, kind: Option<&str>) -> bool {
    matches!(group, None | Some("gateway.networking.k8s.io")) && kind == Some("ListenerSet")
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
