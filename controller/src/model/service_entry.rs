//! A service outside of the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::ServicePort;

/// What counts of a ServiceEntry.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceEntry {
    /// Names, in lower case, none of them twice.
    pub hosts: Vec<Arc<str>>,
    /// Addresses that all of them have; none: each has its own, which the mesh gives it.
    pub addresses: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Where it is reached; none: where its hosts' names lead to.
    pub endpoints: Vec<EntryEndpoint>,
    /// Whether it asks to be known beyond its namespace, if it says anything of it.
    pub exported: Option<bool>,
    /// What its status says that the mesh has given to which host.
    pub given: Vec<(Arc<str>, IpAddr)>,
}

impl ServiceEntry {
    /// The port of this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}

/// Where it is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryEndpoint {
    /// An address, or a name that leads to some.
    pub place: Place,
    /// Ports that differ, by the name of the entry's port.
    pub ports: BTreeMap<String, u16>,
    /// Region, zone, subzone: as many as are known.
    pub locality: Vec<String>,
    /// Its share; zero takes nothing.
    pub weight: u32,
}

/// An address, or a name that leads to some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Place {
    Address(IpAddr),
    Name(Arc<str>),
}

impl Place {
    /// The address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
