//! What clients address by a name, and what routes and policies are about: Services and ServiceEntries.

use culvert_proto::waypoint::ServiceRef;

use super::{entry, names};
use crate::model::{Kind, NsName, Obj, Service, ServiceEntry, ServicePort};
use crate::world::{Consumer, World};

/// The group of a ServiceEntry.
pub const ENTRY_GROUP: &str = "culvert.dev";

/// A Service or a ServiceEntry.
#[derive(Clone, Copy, Debug)]
pub enum Addressed<'a> {
    /// In the cluster.
    Service(&'a Obj<Service>),
    /// Outside of it.
    Entry(&'a Obj<ServiceEntry>),
}

/// The kind that a reference of this group and kind is to, if it can be addressed. Some references have a kind that is
/// meant where they name none.
#[must_use]
pub fn kind(group: Option<&str>, kind: Option<&str>) -> Option<Kind> {
    match (group, kind) {
        (Some("" | "core"), Some("Service")) => Some(Kind::Service),
        (Some(ENTRY_GROUP), Some("ServiceEntry")) => Some(Kind::ServiceEntry),
        _ => None,
    }
}

/// What is addressed, as others know of it.
#[must_use]
pub fn consumer(kind: Kind, name: NsName) -> Consumer {
    match kind {
        Kind::ServiceEntry => Consumer::Entry(name),
        _ => Consumer::Service(name),
    }
}

impl<'a> Addressed<'a> {
    /// What is there and is more than another name.
    #[must_use]
    pub fn find(world: &'a World, consumer: &Consumer) -> Option<Self> {
        let cache = &world.cache;
        match consumer {
            Consumer::Service(name) => {
                let service = cache.services.get(name)?;
                (!service.spec.external_name).then_some(Self::Service(service))
            }
            Consumer::Entry(name) => Some(Self::Entry(cache.entries.get(name)?)),
            Consumer::Pod(_) => None,
        }
    }

    /// The port of this number.
    #[must_use]
    pub fn port(self, number: u16) -> Option<&'a ServicePort> {
        match self {
            Self::Service(service) => service.spec.port(number),
            Self::Entry(entry) => entry.spec.port(number),
        }
    }

    /// The port of this name.
    #[must_use]
    pub fn port_named(self, name: &str) -> Option<&'a ServicePort> {
        let ports = match self {
            Self::Service(service) => &service.spec.ports,
            Self::Entry(entry) => &entry.spec.ports,
        };
        ports.iter().find(|port| port.name == name)
    }

    /// What it is on the wire: one service, or one for each host of an entry that is its own.
    #[must_use]
    pub fn references(self, world: &World, port: u16) -> Vec<ServiceRef> {
        let names = match self {
            Self::Service(service) => vec![names::service(&world.settings, &service.meta.name)],
            Self::Entry(entry) => {
                let namespace = &entry.meta.name.namespace;
                let hosts = entry::own_hosts(world, entry);
                hosts.map(|host| names::entry(namespace, host)).collect()
            }
        };
        let reference = |service| ServiceRef {
            service,
            port: port.into(),
        };
        names.into_iter().map(reference).collect()
    }
}
