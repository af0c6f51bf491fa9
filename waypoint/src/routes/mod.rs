//! The routes of every service, compiled into one immutable snapshot.
//!
//! Invariant: a request is served from one snapshot from its match to its last try; readers never wait for writers.

mod build;
mod plan;
mod store;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::fault::FaultPolicy;

pub use build::{Carried, build};
pub use plan::{BackendPlan, RulePlan, Settings};
pub use store::{RouteStore, Shared};
pub use table::{Found, HostTable};

/// All that was configured, by service.
#[derive(Debug, Default)]
pub struct Routes {
    services: HashMap<Arc<str>, Ports>,
}

/// What holds at each port of a service.
#[derive(Debug, Default)]
struct Ports {
    named: Vec<(u16, PortConfig)>,
    others: PortConfig,
}

/// What holds at one port of a service.
#[derive(Debug, Default)]
pub struct PortConfig {
    /// Routes; absent where none is attached.
    table: Option<HostTable>,
    /// Routes of other namespaces, which hold for clients of these instead.
    consumers: Vec<(Arc<str>, HostTable)>,
    /// For requests without a route, and for connections that are not HTTP.
    pub direct: Settings,
    /// Faults of the service itself.
    pub faults: Vec<Arc<FaultPolicy>>,
}

impl PortConfig {
    /// Routes that hold for clients of `namespace`; none where none is attached.
    pub fn table(&self, namespace: &str) -> Option<&HostTable> {
        let consumer = self.consumers.iter().find(|(of, _)| **of == *namespace);
        consumer.map(|(_, table)| table).or(self.table.as_ref())
    }
}

impl Routes {
    /// What is configured for `port` of `service` (`NAMESPACE/HOSTNAME`).
    pub fn port(&self, service: &str, port: u16) -> Option<&PortConfig> {
        let ports = self.services.get(service)?;
        let named = ports.named.iter().find(|(named, _)| *named == port);
        Some(named.map_or(&ports.others, |(_, config)| config))
    }
}
