//! What a route is attached to: Services of the mesh, and listeners of gateways.
//!
//! Invariant: what is wrong with one parent does not touch another.

use culvert_proto::waypoint::{ListenerRef, ServiceRef};

use super::addressed::{self, Addressed};
use super::finding::{ConditionType, Findings};
use super::waypoint::Use;
use super::{attach, ingress, ingresses, refs, waypoint};
use crate::api::ParentRef;
use crate::model::{Key, Kind, Listener, NsName};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// What a route is attached to.
#[derive(Debug, Default)]
pub(super) struct Parents {
    /// Services of its own namespace.
    pub(super) own: Vec<ServiceRef>,
    /// Services of other namespaces.
    pub(super) consumed: Vec<ServiceRef>,
    /// The names of both.
    pub(super) services: Vec<Consumer>,
    /// Listeners.
    pub(super) listeners: Vec<ListenerRef>,
    /// The same, by the Gateway's name and their own.
    pub(super) attached: Vec<(NsName, String)>,
}

/// All that a route's references lead to.
pub(super) fn of(
    world: &World,
    route: &Key,
    references: &[ParentRef],
    hostnames: &[String],
    findings: &mut Findings,
) -> Parents {
    let mut parents = Parents::default();
    for (i, parent) in references.iter().enumerate() {
        let at = FieldPath::of("spec.parentRefs").index(i);
        let namespace = parent.namespace.as_deref();
        let namespace = namespace.unwrap_or(&route.name.namespace);
        let name = NsName::new(namespace, parent.name.as_str());
        let (group, kind) = (parent.group.as_deref(), parent.kind.as_deref());
        if let Some(kind) = addressed::kind(group, kind) {
            let consumer = addressed::consumer(kind, name);
            parents.add_service(world, route, consumer, parent, &at, findings);
            continue;
        }
        let gateway = world.cache.gateways.get(&name);
        let named = refs::is_gateway(group, kind);
        if named && ingresses::is_gateway(world, &name) {
            let message = format!("Gateway {name} is for Ingresses alone");
            findings.error(
                ConditionType::Accepted,
                "NotAllowedByListeners",
                at,
                message,
            );
            continue;
        }
        let to_set = refs::is_listener_set(group, kind);
        let found = if to_set {
            of_set(world, &name)
        } else {
            of_gateway(world, &name).filter(|_| named).map(Ok)
        };
        if let Some(found) = found {
            let attached = found.and_then(|(gateway, found)| {
                let attached = attach::listeners(world, route, hostnames, parent, found)?;
                Ok((gateway, attached))
            });
            match attached {
                Ok((gateway, attached)) => {
                    parents.add_listeners(gateway, attached);
                    if !ingress::is_programmed(world, gateway) {
                        let message = format!("no instance of Gateway {gateway} is ready yet");
                        findings.note(ConditionType::Programmed, "Pending", at, message);
                    }
                }
                Err(refused) => {
                    let at = refused.field.map_or(at.clone(), |field| at.key(field));
                    findings.error(ConditionType::Accepted, refused.reason, at, refused.message);
                }
            }
        } else if (named && gateway.is_some_and(|g| g.spec.waypoint.is_some()))
            || kind == Some("Service")
        {
            let message = "a route of the mesh is attached to Services: group \"\", kind Service";
            findings.error(ConditionType::Accepted, "InvalidParent", at, message);
        }
        // Another gateway's route is someone else's matter.
    }
    if parents.services.is_empty() && parents.listeners.is_empty() {
        let (programmed, at) = (ConditionType::Programmed, FieldPath::of("spec.parentRefs"));
        let message = "the route is attached to no Service and no Gateway of the mesh";
        findings.note(programmed, "NoParent", at, message);
    }
    parents
}

/// A Gateway's name, and what a reference leads to there; or why nowhere.
type Found<'a> = (&'a NsName, attach::Parent<'a>);

/// A Gateway, if it has listeners.
fn of_gateway<'a>(world: &'a World, name: &'a NsName) -> Option<Found<'a>> {
    let listeners = world.listeners(name)?.iter();
    let own = listeners.filter(|listener| listener.set.is_none());
    let found = attach::Parent {
        kind: Kind::Gateway,
        name,
        listeners: own.collect(),
    };
    Some((name, found))
}

/// A ListenerSet, if its Gateway has listeners.
fn of_set<'a>(world: &'a World, name: &'a NsName) -> Option<Result<Found<'a>, attach::Refused>> {
    let set = world.cache.listener_sets.get(name)?;
    let gateway = set.spec.gateway.as_ref()?;
    let merged = world.merged(gateway)?;
    let member = merged.set(name)?;
    if !member.allowed {
        let message = format!("ListenerSet {name} is not allowed by its Gateway");
        return Some(Err(attach::Refused {
            field: None,
            reason: "NoMatchingParent",
            message,
        }));
    }
    let listeners = merged.listeners.get(member.listeners.clone());
    let found = attach::Parent {
        kind: Kind::ListenerSet,
        name,
        listeners: listeners.unwrap_or_default().iter().collect(),
    };
    Some(Ok((gateway, found)))
}

impl Parents {
    fn add_listeners(&mut self, gateway: &NsName, attached: Vec<(&Listener, Vec<String>)>) {
        for (listener, hostnames) in attached {
            let full_name = listener.full_name();
            let known = (gateway.clone(), full_name.clone());
            if self.attached.contains(&known) {
                continue;
            }
            self.attached.push(known);
            self.listeners.push(ListenerRef {
                gateway: gateway.to_string(),
                listener: full_name,
                hostnames,
            });
        }
    }

    fn add_service(
        &mut self,
        world: &World,
        route: &Key,
        consumer: Consumer,
        parent: &ParentRef,
        at: &FieldPath,
        findings: &mut Findings,
    ) {
        let accepted = ConditionType::Accepted;
        let own = consumer.name().namespace == route.name.namespace;
        let consumes = matches!(route.kind, Kind::HttpRoute | Kind::GrpcRoute);
        let Some(found) = Addressed::find(world, &consumer) else {
            let message = format!("there is no {consumer}");
            findings.error(accepted, "NoMatchingParent", at.key("name"), message);
            return;
        };
        if let Some(port) = parent.port
            && found.port(port.get()).is_none()
        {
            let message = format!("{consumer} has no port {}", port.get());
            findings.error(accepted, "NoMatchingParent", at.key("port"), message);
            return;
        }
        if !own && !consumes {
            let message = format!(
                "a {} holds for {} of its own namespace only",
                route.kind,
                plural(consumer.kind())
            );
            findings.error(accepted, "UnsupportedValue", at.key("namespace"), message);
            return;
        }
        programmed(world, &consumer, at, findings);
        let port = parent.port.map_or(0, |port| port.get());
        let references = if own {
            &mut self.own
        } else {
            &mut self.consumed
        };
        references.extend(found.references(world, port));
        self.services.push(consumer);
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::ServiceEntry => "ServiceEntries",
        _ => "Services",
    }
}

fn programmed(world: &World, service: &Consumer, at: &FieldPath, findings: &mut Findings) {
    let (reason, message) = match waypoint::of(world, service).0 {
        Use::Through(..) => return,
        Use::None => (
            "NoWaypoint",
            format!("{service} has no waypoint: the route has no effect on it"),
        ),
        Use::Pending(gateway) => (
            "Pending",
            format!("waypoint {gateway} does not serve {service} yet"),
        ),
        Use::Refused(gateway, _) => (
            "WaypointGone",
            format!("waypoint {gateway} of {service} cannot be reached"),
        ),
    };
    findings.note(ConditionType::Programmed, reason, at.clone(), message);
}

#[cfg(test)]
mod tests;
