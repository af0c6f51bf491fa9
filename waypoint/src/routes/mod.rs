//! The routes of every service, compiled into one immutable snapshot.
//!
//! Invariant: a request is served from one snapshot from its match to its last try; readers never wait for writers.

mod backend_tls;
mod build;
mod gateway;
mod hosts;
mod plan;
mod settings;
mod store;
mod stream;
mod table;
#[cfg(test)]
mod testing;

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::ServiceRef;
use crate::config::fault::FaultPolicy;

pub use backend_tls::Origination;
pub use build::{Resources, build};
pub use gateway::{GatewayPlan, ListenerPlan};
pub use plan::{BackendPlan, RulePlan, Settings};
pub use settings::Carried;
pub use store::{OwnGateway, RouteStore, Shared};
pub use stream::{StreamPlan, Streams};
pub use table::{Found, HostTable};

/// All that was configured, by service and for this gateway's own listeners.
#[derive(Debug, Default)]
pub struct Routes {
    services: HashMap<Arc<str>, Ports>,
    /// This process's own listeners; absent at a waypoint.
    pub gateway: Option<GatewayPlan>,
    backend_tls: backend_tls::BackendTls,
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
    /// Routes of connections that are not HTTP.
    pub streams: Streams,
    /// For requests and connections without a route.
    pub direct: Settings,
    /// Faults of the service itself.
    pub faults: Vec<Arc<FaultPolicy>>,
}

impl PortConfig {
    /// Routes that hold for clients of `namespace`; none where none is attached.
    pub fn table<'n>(&self, namespace: impl Into<Option<&'n str>>) -> Option<&HostTable> {
        let consumer = namespace
            .into()
            .and_then(|namespace| self.consumers.iter().find(|(of, _)| **of == *namespace));
        consumer.map(|(_, table)| table).or(self.table.as_ref())
    }
}

impl Routes {
    /// How TLS is begun at a port of a service; none: it is not.
    pub fn backend_tls(&self, service: &ServiceRef) -> Option<&Arc<Origination>> {
        self.backend_tls.of(service)
    }

    /// What is configured for `port` of `service` (`NAMESPACE/HOSTNAME`).
    pub fn port(&self, service: &str, port: u16) -> Option<&PortConfig> {
        let ports = self.services.get(service)?;
        let named = ports.named.iter().find(|(named, _)| *named == port);
        Some(named.map_or(&ports.others, |(_, config)| config))
    }
}
