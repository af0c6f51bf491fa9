//! The kinds that the mesh reads.

use std::fmt;

use serde::{Serialize, Serializer};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    ServiceAccount,
    NetworkPolicy,
    GatewayClass,
    Gateway,
    HttpRoute,
    GrpcRoute,
    MeshConfig,
    PeerAuthentication,
    AuthorizationPolicy,
    TrafficPolicy,
    FaultPolicy,
    Secret,
    ReferenceGrant,
    TlsRoute,
    TcpRoute,
    Ingress,
    IngressClass,
    ServiceEntry,
    EgressPolicy,
    ConfigMap,
    BackendTlsPolicy,
    XBackendTrafficPolicy,
    ListenerSet,
}

const CORE: &[&str] = &["v1"];
const DISCOVERY: &[&str] = &["discovery.k8s.io/v1"];
const NETWORKING: &[&str] = &["networking.k8s.io/v1"];
const GATEWAY: &[&str] = &[
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1beta1",
];
/// The first is what every release of the Gateway API has that has the kind.
const GRANT: &[&str] = &[
    "gateway.networking.k8s.io/v1beta1",
    "gateway.networking.k8s.io/v1",
];
const TLS_ROUTE: &[&str] = &[
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1alpha3",
    "gateway.networking.k8s.io/v1alpha2",
];
const TCP_ROUTE: &[&str] = &[
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1alpha2",
];
const BACKEND_TLS: &[&str] = &[
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1alpha3",
];
const EXPERIMENTAL: &[&str] = &["gateway.networking.x-k8s.io/v1alpha1"];
const LISTENER_SET: &[&str] = &["gateway.networking.k8s.io/v1"];
const CULVERT: &[&str] = &["culvert.dev/v1alpha1"];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceAccount,
        Self::NetworkPolicy,
        Self::GatewayClass,
        Self::Gateway,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::MeshConfig,
        Self::PeerAuthentication,
        Self::AuthorizationPolicy,
        Self::TrafficPolicy,
        Self::FaultPolicy,
        Self::Secret,
        Self::ReferenceGrant,
        Self::TlsRoute,
        Self::TcpRoute,
        Self::Ingress,
        Self::IngressClass,
        Self::ServiceEntry,
        Self::EgressPolicy,
        Self::ConfigMap,
        Self::BackendTlsPolicy,
        Self::XBackendTrafficPolicy,
        Self::ListenerSet,
    ];

    /// Those that say where traffic goes.
    pub const ROUTES: [Self; 4] = [
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::TcpRoute,
    ];

    /// The kind of this name, whatever its group.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceAccount => "ServiceAccount",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::MeshConfig => "MeshConfig",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::FaultPolicy => "FaultPolicy",
            Self::Secret => "Secret",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::TlsRoute => "TLSRoute",
            Self::TcpRoute => "TCPRoute",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::ServiceEntry => "ServiceEntry",
            Self::EgressPolicy => "EgressPolicy",
            Self::ConfigMap => "ConfigMap",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::XBackendTrafficPolicy => "XBackendTrafficPolicy",
            Self::ListenerSet => "ListenerSet",
        }
    }

    /// The `apiVersion`s that are read.
    #[must_use]
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::Service
            | Self::ServiceAccount
            | Self::Secret
            | Self::ConfigMap => CORE,
            Self::EndpointSlice => DISCOVERY,
            Self::NetworkPolicy | Self::Ingress | Self::IngressClass => NETWORKING,
            Self::GatewayClass | Self::Gateway | Self::HttpRoute | Self::GrpcRoute => GATEWAY,
            Self::ReferenceGrant => GRANT,
            Self::TlsRoute => TLS_ROUTE,
            Self::TcpRoute => TCP_ROUTE,
            Self::BackendTlsPolicy => BACKEND_TLS,
            Self::XBackendTrafficPolicy => EXPERIMENTAL,
            Self::ListenerSet => LISTENER_SET,
            Self::MeshConfig
            | Self::PeerAuthentication
            | Self::AuthorizationPolicy
            | Self::TrafficPolicy
            | Self::FaultPolicy
            | Self::ServiceEntry
            | Self::EgressPolicy => CULVERT,
        }
    }

    /// Whether a CustomResourceDefinition makes it; the others every API server has.
    #[must_use]
    pub fn is_custom(self) -> bool {
        ![CORE, DISCOVERY, NETWORKING].contains(&self.api_versions())
    }

    /// Whether its objects belong to no namespace.
    #[must_use]
    pub fn is_cluster_scoped(self) -> bool {
        matches!(
            self,
            Self::Namespace
                | Self::Node
                | Self::GatewayClass
                | Self::MeshConfig
                | Self::IngressClass
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
