//! What a route is attached to: Services of the mesh, and listeners of gateways.
//!
//! Invariant: what is wrong with one parent does not touch another.

use culvert_proto::waypoint::{ListenerRef, ServiceRef};

use super::finding::{ConditionType, Findings};
use super::waypoint::Use;
use super::{attach, ingress, ingresses, names, refs, waypoint};
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
    pub(super) services: Vec<NsName>,
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
        if matches!(group, Some("" | "core")) && kind == Some("Service") {
            parents.add_service(world, route, name, parent, &at, findings);
            continue;
        }
        let gateway = world.cache.gateways.get(&name);
        let listeners = gateway.and_then(|gateway| gateway.spec.listeners.as_deref());
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
        if let Some(listeners) = listeners.filter(|_| named) {
            let gateway = (&name, listeners);
            match attach::listeners(world, route, hostnames, parent, gateway) {
                Ok(attached) => {
                    parents.add_listeners(&name, attached);
                    if !ingress::is_programmed(world, &name) {
                        let message = format!("no instance of Gateway {name} is ready yet");
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

impl Parents {
    fn add_listeners(&mut self, gateway: &NsName, attached: Vec<(&Listener, Vec<String>)>) {
        for (listener, hostnames) in attached {
            let known = (gateway.clone(), listener.name.clone());
            if self.attached.contains(&known) {
                continue;
            }
            self.attached.push(known);
            self.listeners.push(ListenerRef {
                gateway: gateway.to_string(),
                listener: listener.name.clone(),
                hostnames,
            });
        }
    }

    fn add_service(
        &mut self,
        world: &World,
        route: &Key,
        name: NsName,
        parent: &ParentRef,
        at: &FieldPath,
        findings: &mut Findings,
    ) {
        let accepted = ConditionType::Accepted;
        let own = name.namespace == route.name.namespace;
        let consumes = matches!(route.kind, Kind::HttpRoute | Kind::GrpcRoute);
        let Some(service) = refs::find(world, &name) else {
            let message = format!("there is no Service {name}");
            findings.error(accepted, "NoMatchingParent", at.key("name"), message);
            return;
        };
        if let Some(port) = parent.port
            && service.spec.port(port.get()).is_none()
        {
            let message = format!("Service {name} has no port {}", port.get());
            findings.error(accepted, "NoMatchingParent", at.key("port"), message);
            return;
        }
        if !own && !consumes {
            let message = format!(
                "a {} holds for Services of its own namespace only",
                route.kind
            );
            findings.error(accepted, "UnsupportedValue", at.key("namespace"), message);
            return;
        }
        programmed(world, &name, at, findings);
        let reference = ServiceRef {
            service: names::service(&world.settings, &name),
            port: parent.port.map_or(0, |port| port.get().into()),
        };
        let references = if own {
            &mut self.own
        } else {
            &mut self.consumed
        };
        references.push(reference);
        self.services.push(name);
    }
}

fn programmed(world: &World, service: &NsName, at: &FieldPath, findings: &mut Findings) {
    let (reason, message) = match waypoint::of(world, &Consumer::Service(service.clone())).0 {
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
    findings.note(ConditionType::Programmed, reason, at.clone(), message);
}

#[cfg(test)]
mod tests;
