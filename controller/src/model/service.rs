//! A service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

/// What counts of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Service {
    /// Virtual addresses; none for a headless one.
    pub vips: Vec<IpAddr>,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// Which pods, if it says so.
    pub selector: Option<BTreeMap<String, String>>,
    /// It is but another name for something outside.
    pub external_name: bool,
    /// Which endpoints come first.
    pub preference: Preference,
    /// Pods that are not ready take traffic too.
    pub publish_not_ready: bool,
    /// Connections of one client go to one endpoint.
    pub client_affinity: bool,
    /// The families of its addresses, or of its endpoints' where it has none; none: as they come.
    pub families: Vec<Family>,
}

impl Service {
    /// Whether its selector is satisfied by a pod's labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.as_ref().is_some_and(|selector| {
            let matches = |(key, value): (&String, &String)| labels.get(key) == Some(value);
            !selector.is_empty() && selector.iter().all(matches)
        })
    }

    /// The port of this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    V4,
    V6,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: String,
    /// The service's.
    pub port: u16,
    /// The pods'.
    pub target: TargetPort,
    /// What is spoken.
    pub protocol: AppProtocol,
}

/// The pods' port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum TargetPort {
    /// The same for all.
    Number(u16),
    /// As each pod's container names it.
    Name(String),
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AppProtocol {
    #[default]
    Unknown,
    Http1,
    Http2,
    Grpc,
    Tcp,
    Tls,
}

impl AppProtocol {
    /// What a port's `appProtocol`, or else the first word of its name, says.
    #[must_use]
    pub fn of(app_protocol: Option<&str>, port_name: &str) -> Self {
        let name = app_protocol.unwrap_or_else(|| port_name.split('-').next().unwrap_or_default());
        match name.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http1,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" | "grpc-web" => Self::Grpc,
            "tcp" | "redis" | "mysql" | "mongo" | "postgres" => Self::Tcp,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            _ => Self::Unknown,
        }
    }
}

/// Which endpoints come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Preference {
    /// All alike.
    #[default]
    None,
    /// Those of the client's zone.
    SameZone,
    /// Those of the client's node, then of its zone.
    SameNode,
    /// Only those of the client's node.
    OnlyNode,
}
