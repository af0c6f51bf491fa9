//! Where a waypoint or a gateway of another network listens.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

/// A waypoint or gateway, and its HBONE port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GatewayRef {
    /// Whom to reach.
    pub destination: GatewayDestination,
    /// The port that speaks HBONE.
    pub hbone_port: u16,
}

/// How a gateway is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayDestination {
    /// By a service's virtual IP or a workload's own.
    Address {
        /// Empty for the cluster's own network.
        network: Arc<str>,
        /// The address.
        ip: IpAddr,
    },
    /// By a service's name.
    Hostname {
        /// The service's namespace.
        namespace: Arc<str>,
        /// The service's fully qualified name.
        hostname: Arc<str>,
    },
}

impl fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.hbone_port;
        match &self.destination {
            GatewayDestination::Address {
                ip: IpAddr::V6(ip), ..
            } => write!(f, "[{ip}]:{port}"),
            GatewayDestination::Address { ip, .. } => write!(f, "{ip}:{port}"),
            GatewayDestination::Hostname {
                namespace,
                hostname,
            } => write!(f, "{namespace}/{hostname}:{port}"),
        }
    }
}
