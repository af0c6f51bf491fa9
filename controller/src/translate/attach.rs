//! Which listeners of a gateway or of a ListenerSet a route is attached to, and for which hosts.
//!
//! Invariant: a reference to the one never leads to a listener of the other.

use super::hosts;
use crate::api::ParentRef;
use crate::model::{Key, Kind, Listener, NsName};
use crate::world::World;

/// Why a route is attached to no listener of a gateway.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Of the reference.
    pub(super) field: Option<&'static str>,
    /// A word for programs.
    pub(super) reason: &'static str,
    /// A sentence for people.
    pub(super) message: String,
}

/// What a reference leads to.
pub(super) struct Parent<'a> {
    /// A Gateway or ListenerSet.
    pub(super) kind: Kind,
    pub(super) name: &'a NsName,
    /// Those of it alone.
    pub(super) listeners: Vec<&'a Listener>,
}

/// The listeners, each with the hosts that it and the route both allow; none of these means every host.
pub(super) fn listeners<'a>(
    world: &World,
    route: &Key,
    hostnames: &[String],
    parent: &ParentRef,
    Parent {
        kind,
        name,
        listeners,
    }: Parent<'a>,
) -> Result<Vec<(&'a Listener, Vec<String>)>, Refused> {
    let refuse = |field, reason, message| Refused {
        field,
        reason,
        message,
    };
    let section = parent.section_name.as_deref();
    let port = parent.port.map(crate::api::Port::get);
    let named: Vec<_> = listeners
        .into_iter()
        .filter(|listener| section.is_none_or(|name| listener.name == name))
        .collect();
    if named.is_empty() {
        let section = section.unwrap_or_default();
        let message = format!("{kind} {name} has no listener {section:?}");
        return Err(refuse(Some("sectionName"), "NoMatchingParent", message));
    }
    let meant: Vec<_> = named
        .into_iter()
        .filter(|listener| port.is_none_or(|port| listener.port == port))
        .collect();
    if meant.is_empty() {
        let message = format!(
            "{kind} {name} has no such listener at port {}",
            port.unwrap_or_default()
        );
        return Err(refuse(Some("port"), "NoMatchingParent", message));
    }
    let served: Vec<_> = meant.into_iter().filter(|l| l.refused.is_none()).collect();
    if served.is_empty() {
        let message = format!("no such listener of {kind} {name} is served");
        return Err(refuse(None, "NoMatchingParent", message));
    }
    let namespace = &route.name.namespace;
    let labels = world.cache.namespaces.find("", namespace);
    let labels = labels.map(|namespace| &namespace.meta.labels);
    let allowing: Vec<_> = served
        .into_iter()
        .filter(|listener| {
            listener.kinds.contains(&route.kind)
                && (listener.allowed).admits(&name.namespace, namespace, labels)
        })
        .collect();
    if allowing.is_empty() {
        let message = format!(
            "no such listener of {kind} {name} allows a {} of namespace {namespace}",
            route.kind
        );
        return Err(refuse(None, "NotAllowedByListeners", message));
    }
    let attached: Vec<_> = allowing
        .into_iter()
        .filter_map(|listener| Some((listener, hosts::both(&listener.hostname, hostnames)?)))
        .collect();
    if attached.is_empty() {
        let message = format!("no such listener of {kind} {name} is for any of the hostnames");
        return Err(refuse(None, "NoMatchingListenerHostname", message));
    }
    Ok(attached)
}
