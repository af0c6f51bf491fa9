//! Which waypoint a service or pod asks for, and whether its traffic goes there.

use culvert_proto::istio::workload::GatewayAddress;

use super::finding::{ConditionType, Finding, Findings};
use super::names;
use crate::keys;
use crate::model::{Key, Kind, Meta, NsName, Obj, Pod, Waypoint};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// A waypoint that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub gateway: NsName,
    /// The object that has the label.
    by: Key,
    /// Which label names a namespace that is not its own.
    foreign: bool,
}

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Use {
    /// Straight to the endpoint: no waypoint is asked for, or none that is for this traffic.
    None,
    /// Straight to the endpoint, until this one is programmed.
    Pending(NsName),
    /// Through this one.
    Through(NsName, GatewayAddress),
    /// Nowhere: this one is mandatory and cannot be reached.
    Refused(NsName, GatewayAddress),
}

impl Use {
    /// What a service's or workload's record says.
    #[must_use]
    pub fn address(&self) -> Option<GatewayAddress> {
        match self {
            Self::None | Self::Pending(_) => None,
            Self::Through(_, address) | Self::Refused(_, address) => Some(address.clone()),
        }
    }
}

/// Why a waypoint that is asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of this name.
    Missing,
    /// Its listener does not allow the namespace.
    NotAllowed,
    /// It is not known where it runs.
    NoAddress,
}

/// The waypoint that an object's own label or its namespace's names.
#[must_use]
pub fn wanted(world: &World, kind: Kind, meta: &Meta) -> Option<Wanted> {
    let own = Key {
        kind,
        name: meta.name.clone(),
    };
    if part_of(world, meta).is_some() {
        // Its traffic would come back to itself.
        return None;
    }
    let namespace = &meta.name.namespace;
    let (by, labels) = if meta.label(keys::USE_WAYPOINT).is_some() {
        (own, meta)
    } else {
        let declared = world.cache.namespaces.find("", namespace)?;
        (
            Key {
                kind: Kind::Namespace,
                name: declared.meta.name.clone(),
            },
            &declared.meta,
        )
    };
    let name = labels
        .label(keys::USE_WAYPOINT)
        .filter(|name| *name != "none")?;
    let other = labels.label(keys::USE_WAYPOINT_NAMESPACE);
    Some(Wanted {
        gateway: NsName::new(other.unwrap_or(namespace), name),
        by,
        foreign: other.is_some_and(|other| other != &**namespace),
    })
}

/// Whether the controller deployed the waypoint: its instances are endpoints of its own Service then.
#[must_use]
pub fn is_deployed(world: &World, gateway: &NsName) -> bool {
    let service = world.cache.services.get(gateway);
    service.is_some_and(|service| service.meta.label(keys::GATEWAY_NAME) == Some(&*gateway.name))
}

/// The waypoint or gateway that a Service, or a pod, is itself a part of.
#[must_use]
pub fn part_of(world: &World, meta: &Meta) -> Option<NsName> {
    let name = meta.label(keys::GATEWAY_NAME)?;
    let gateway = NsName::new(meta.name.namespace.clone(), name);
    let object = world.cache.gateways.get(&gateway)?;
    object.spec.is_ours().then_some(gateway)
}

/// Whether a pod is an instance of a waypoint that the controller deployed. It takes HBONE by itself.
#[must_use]
pub fn is_instance(world: &World, pod: &Obj<Pod>) -> bool {
    let gateway = part_of(world, &pod.meta);
    gateway.is_some_and(|gateway| {
        let object = world.cache.gateways.get(&gateway);
        object.is_some_and(|object| object.spec.waypoint.is_some())
            && *pod.spec.service_account == *gateway.name
            && is_deployed(world, &gateway)
    })
}

/// The waypoint's record and address, if objects of `namespace` may use it.
pub fn usable<'a>(
    world: &'a World,
    gateway: &NsName,
    namespace: &str,
) -> Result<(&'a Waypoint, GatewayAddress), Unusable> {
    let object = world.cache.gateways.get(gateway);
    let waypoint = object
        .and_then(|o| o.spec.waypoint.as_ref())
        .ok_or(Unusable::Missing)?;
    let labels = world
        .cache
        .namespaces
        .find("", namespace)
        .map(|ns| &ns.meta.labels);
    if !waypoint
        .allowed
        .admits(&gateway.namespace, namespace, labels)
    {
        return Err(Unusable::NotAllowed);
    }
    if is_deployed(world, gateway) {
        // By its Service's name, which has every instance, in both families.
        return Ok((waypoint, names::service_gateway(&world.settings, gateway)));
    }
    let address = waypoint.addresses.first().ok_or(Unusable::NoAddress)?;
    Ok((waypoint, names::gateway_address(*address, waypoint.port)))
}

/// The waypoint that a service or pod asks for, if it may use it and it is for this kind of traffic.
#[must_use]
pub fn usable_for(world: &World, consumer: &Consumer) -> Option<NsName> {
    let (kind, meta) = meta(world, consumer)?;
    let wanted = wanted(world, kind, meta)?;
    let (waypoint, _) = usable(world, &wanted.gateway, &meta.name.namespace).ok()?;
    is_for(waypoint, consumer).then_some(wanted.gateway)
}

/// Where traffic to a service or pod goes.
#[must_use]
pub fn of(world: &World, consumer: &Consumer) -> (Use, Option<Finding>) {
    let Some((kind, meta)) = meta(world, consumer) else {
        return (Use::None, None);
    };
    let Some(wanted) = wanted(world, kind, meta) else {
        return (Use::None, None);
    };
    let gateway = wanted.gateway.clone();
    let mandatory = world.waypoints.is_mandatory(&gateway, consumer);
    match usable(world, &gateway, &meta.name.namespace) {
        Ok((waypoint, _)) if !is_for(waypoint, consumer) => (Use::None, None),
        Ok((_, address)) if mandatory => (Use::Through(gateway, address), None),
        Ok(_) => (Use::Pending(gateway), None),
        // Nothing says that a waypoint which is not there would be for pods.
        Err(_)
            if matches!(consumer, Consumer::Pod(_))
                && !(mandatory && for_pods(world, &gateway)) =>
        {
            (Use::None, None)
        }
        Err(why) => {
            // It serves others, so it is more than a name: what it does not serve is not let past it.
            let refused = mandatory || world.waypoints.is_programmed(&gateway);
            // An entry's traffic never goes past a waypoint that it asks for.
            let waits = matches!(consumer, Consumer::Entry(_));
            let finding = finding(&wanted, &why, refused || waits);
            let refusal = names::unreachable_gateway(&gateway);
            let outcome = if refused {
                Use::Refused(gateway, refusal)
            } else {
                Use::Pending(gateway)
            };
            (outcome, Some(finding))
        }
    }
}

fn meta<'a>(world: &'a World, consumer: &Consumer) -> Option<(Kind, &'a Meta)> {
    match consumer {
        Consumer::Service(name) => Some((Kind::Service, &world.cache.services.get(name)?.meta)),
        Consumer::Entry(name) => Some((Kind::ServiceEntry, &world.cache.entries.get(name)?.meta)),
        Consumer::Pod(name) => Some((Kind::Pod, &world.cache.pods.get(name)?.meta)),
    }
}

/// Whether a waypoint that cannot be used is, or was, for pods.
fn for_pods(world: &World, gateway: &NsName) -> bool {
    let object = world.cache.gateways.get(gateway);
    let waypoint = object.and_then(|object| object.spec.waypoint.as_ref());
    world.waypoints.serves_pods(gateway)
        || waypoint.is_some_and(|waypoint| waypoint.purpose.workloads())
}

fn is_for(waypoint: &Waypoint, consumer: &Consumer) -> bool {
    match consumer {
        Consumer::Service(_) | Consumer::Entry(_) => waypoint.purpose.services(),
        Consumer::Pod(_) => waypoint.purpose.workloads(),
    }
}

fn finding(wanted: &Wanted, why: &Unusable, refused: bool) -> Finding {
    let Wanted {
        gateway,
        by,
        foreign,
    } = wanted;
    let effect = if refused {
        "its traffic is refused"
    } else {
        "its traffic goes direct until there is one"
    };
    let (reason, message) = match why {
        Unusable::Missing => (
            "WaypointNotFound",
            format!("there is no waypoint {gateway}: {effect}"),
        ),
        Unusable::NotAllowed => {
            let message = format!(
                "the listener of waypoint {gateway} does not allow this namespace: {effect}"
            );
            ("WaypointNotAllowed", message)
        }
        Unusable::NoAddress => (
            "WaypointHasNoAddress",
            format!("waypoint {gateway} has no address: {effect}"),
        ),
    };
    let label = if *foreign {
        keys::USE_WAYPOINT_NAMESPACE
    } else {
        keys::USE_WAYPOINT
    };
    let label = if *why == Unusable::NotAllowed {
        label
    } else {
        keys::USE_WAYPOINT
    };
    let mut findings = Findings::new(by.clone());
    findings.error(
        ConditionType::ResolvedRefs,
        reason,
        FieldPath::label(label),
        message,
    );
    findings.into_vec().swap_remove(0)
}

#[cfg(test)]
mod tests;
