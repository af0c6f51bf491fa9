//! The resources that are served.

use std::fmt;
use std::sync::Arc;

use culvert_proto::{istio, node, type_url, waypoint};
use prost::Message as _;

use super::Certificate;

/// A type of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names of the messages")]
pub enum Type {
    TrustBundle,
    MeshSettings,
    Authorization,
    EgressPolicy,
    BackendTlsPolicy,
    Address,
    TrafficPolicy,
    FaultPolicy,
    Certificate,
    Gateway,
    HttpRoute,
    StreamRoute,
    Pod,
    ConnectionFault,
}

impl Type {
    /// All of them, in the order in which they are sent: what is named by another comes before it, and what says how
    /// services are reached before these.
    pub const ALL: [Self; 14] = [
        Self::TrustBundle,
        Self::MeshSettings,
        Self::Authorization,
        Self::EgressPolicy,
        Self::BackendTlsPolicy,
        Self::Address,
        Self::TrafficPolicy,
        Self::FaultPolicy,
        Self::Certificate,
        Self::Gateway,
        Self::HttpRoute,
        Self::StreamRoute,
        Self::Pod,
        Self::ConnectionFault,
    ];

    /// As the wire names it.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::TrustBundle => type_url::TRUST_BUNDLE,
            Self::MeshSettings => type_url::MESH_SETTINGS,
            Self::Authorization => type_url::AUTHORIZATION,
            Self::EgressPolicy => type_url::EGRESS_POLICY,
            Self::Address => type_url::ADDRESS,
            Self::BackendTlsPolicy => type_url::BACKEND_TLS_POLICY,
            Self::TrafficPolicy => type_url::TRAFFIC_POLICY,
            Self::FaultPolicy => type_url::FAULT_POLICY,
            Self::Certificate => type_url::CERTIFICATE,
            Self::Gateway => type_url::GATEWAY,
            Self::HttpRoute => type_url::HTTP_ROUTE,
            Self::StreamRoute => type_url::STREAM_ROUTE,
            Self::Pod => type_url::POD,
            Self::ConnectionFault => type_url::CONNECTION_FAULT,
        }
    }

    /// The type that the wire names so.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url();
        f.write_str(url.rsplit('.').next().unwrap_or(url))
    }
}

/// A resource before it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its name on the wire.
    pub name: Arc<str>,
    /// Other names that a client may ask for it by.
    pub aliases: Vec<String>,
    /// What it says.
    pub message: Message,
}

/// What a resource says.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the messages")]
pub enum Message {
    TrustBundle(node::TrustBundle),
    MeshSettings(node::MeshSettings),
    Authorization(istio::security::Authorization),
    EgressPolicy(node::EgressPolicy),
    Workload(Box<istio::workload::Workload>),
    Service(Box<istio::workload::Service>),
    BackendTlsPolicy(waypoint::BackendTlsPolicy),
    TrafficPolicy(Box<waypoint::TrafficPolicy>),
    FaultPolicy(waypoint::FaultPolicy),
    Certificate(Certificate),
    Gateway(waypoint::Gateway),
    HttpRoute(waypoint::HttpRoute),
    StreamRoute(waypoint::StreamRoute),
    Pod(node::Pod),
    ConnectionFault(node::ConnectionFault),
}

impl Message {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::TrustBundle(_) => Type::TrustBundle,
            Self::MeshSettings(_) => Type::MeshSettings,
            Self::Authorization(_) => Type::Authorization,
            Self::EgressPolicy(_) => Type::EgressPolicy,
            Self::Workload(_) | Self::Service(_) => Type::Address,
            Self::BackendTlsPolicy(_) => Type::BackendTlsPolicy,
            Self::TrafficPolicy(_) => Type::TrafficPolicy,
            Self::FaultPolicy(_) => Type::FaultPolicy,
            Self::Certificate(_) => Type::Certificate,
            Self::Gateway(_) => Type::Gateway,
            Self::HttpRoute(_) => Type::HttpRoute,
            Self::StreamRoute(_) => Type::StreamRoute,
            Self::Pod(_) => Type::Pod,
            Self::ConnectionFault(_) => Type::ConnectionFault,
        }
    }

    /// As bytes. Equal messages have equal bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        use istio::workload::{Address, address};
        match self {
            Self::TrustBundle(message) => message.encode_to_vec(),
            Self::MeshSettings(message) => message.encode_to_vec(),
            Self::Authorization(message) => message.encode_to_vec(),
            Self::EgressPolicy(message) => message.encode_to_vec(),
            Self::Workload(message) => {
                let kind = Some(address::Type::Workload(*message));
                Address { r#type: kind }.encode_to_vec()
            }
            Self::Service(message) => {
                let kind = Some(address::Type::Service(*message));
                Address { r#type: kind }.encode_to_vec()
            }
            Self::BackendTlsPolicy(message) => message.encode_to_vec(),
            Self::TrafficPolicy(message) => message.encode_to_vec(),
            Self::FaultPolicy(message) => message.encode_to_vec(),
            Self::Certificate(message) => message.encode(),
            Self::Gateway(message) => message.encode_to_vec(),
            Self::HttpRoute(message) => message.encode_to_vec(),
            Self::StreamRoute(message) => message.encode_to_vec(),
            Self::Pod(message) => message.encode_to_vec(),
            Self::ConnectionFault(message) => message.encode_to_vec(),
        }
    }
}
