//! The objects that the mesh is made from, as the rest of the controller sees them: checked, small, and the same whether
//! they came from a directory or from Kubernetes. Only [`crate::admit`] makes them.

mod backend_tls;
mod config_map;
mod endpoint_slice;
mod frontend;
mod gateway;
mod ingress;
mod kind;
mod listener;
mod meta;
mod pod;
mod secret;
mod service;
mod service_entry;

use std::sync::Arc;

use serde::Serialize;

use crate::api;

pub use backend_tls::BackendTls;
pub use config_map::CaBundle;
pub use endpoint_slice::{Endpoint, EndpointSlice};
pub use frontend::{Frontend, Validation};
pub use gateway::{Allowed, Gateway, Purpose, Waypoint};
pub use ingress::{
    BackendPort, Ingress, IngressBackend, IngressClass, IngressPath, IngressRule, IngressTls,
    PathType,
};
pub use kind::Kind;
pub use listener::{CertificateRef, Listener, ListenerSet, Protocol, Refused};
pub use meta::{Key, Meta, NsName};
pub use pod::{CaptureOptions, Owner, Pod};
pub use secret::{KeyPair, TlsSecret};
pub use service::{AppProtocol, Family, Preference, Service, ServicePort, TargetPort};
pub use service_entry::{EntryEndpoint, Place, ServiceEntry};

/// An object of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Obj<T> {
    /// Its name, labels and annotations.
    pub meta: Meta,
    /// What it says.
    pub spec: T,
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind")]
#[expect(missing_docs, reason = "one variant for each kind")]
pub enum Object {
    Namespace(Arc<Obj<()>>),
    Node(Arc<Obj<()>>),
    Pod(Arc<Obj<Pod>>),
    Service(Arc<Obj<Service>>),
    EndpointSlice(Arc<Obj<EndpointSlice>>),
    ServiceAccount(Arc<Obj<()>>),
    NetworkPolicy(Arc<Obj<()>>),
    GatewayClass(Arc<Obj<()>>),
    Gateway(Arc<Obj<Gateway>>),
    #[serde(rename = "HTTPRoute")]
    HttpRoute(Arc<Obj<api::HttpRouteSpec>>),
    /// As the route of HTTP that it stands for.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute(Arc<Obj<api::HttpRouteSpec>>),
    MeshConfig(Arc<Obj<api::MeshConfigSpec>>),
    PeerAuthentication(Arc<Obj<api::PeerAuthenticationSpec>>),
    AuthorizationPolicy(Arc<Obj<api::AuthorizationPolicySpec>>),
    TrafficPolicy(Arc<Obj<api::TrafficPolicySpec>>),
    FaultPolicy(Arc<Obj<api::FaultPolicySpec>>),
    Secret(Arc<Obj<TlsSecret>>),
    ReferenceGrant(Arc<Obj<api::ReferenceGrantSpec>>),
    #[serde(rename = "TLSRoute")]
    TlsRoute(Arc<Obj<api::StreamRouteSpec>>),
    #[serde(rename = "TCPRoute")]
    TcpRoute(Arc<Obj<api::StreamRouteSpec>>),
    Ingress(Arc<Obj<Ingress>>),
    IngressClass(Arc<Obj<IngressClass>>),
    ServiceEntry(Arc<Obj<ServiceEntry>>),
    EgressPolicy(Arc<Obj<api::EgressPolicySpec>>),
    ConfigMap(Arc<Obj<CaBundle>>),
    #[serde(rename = "BackendTLSPolicy")]
    BackendTlsPolicy(Arc<Obj<BackendTls>>),
    XBackendTrafficPolicy(Arc<Obj<api::BackendTrafficPolicySpec>>),
    ListenerSet(Arc<Obj<ListenerSet>>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::Gateway(_) => Kind::Gateway,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::MeshConfig(_) => Kind::MeshConfig,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::TrafficPolicy(_) => Kind::TrafficPolicy,
            Self::FaultPolicy(_) => Kind::FaultPolicy,
            Self::Secret(_) => Kind::Secret,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::TlsRoute(_) => Kind::TlsRoute,
            Self::TcpRoute(_) => Kind::TcpRoute,
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::EgressPolicy(_) => Kind::EgressPolicy,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Self::XBackendTrafficPolicy(_) => Kind::XBackendTrafficPolicy,
            Self::ListenerSet(_) => Kind::ListenerSet,
        }
    }

    /// Its name, labels and annotations.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(o)
            | Self::Node(o)
            | Self::ServiceAccount(o)
            | Self::NetworkPolicy(o)
            | Self::GatewayClass(o) => &o.meta,
            Self::Pod(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::EndpointSlice(o) => &o.meta,
            Self::Gateway(o) => &o.meta,
            Self::HttpRoute(o) | Self::GrpcRoute(o) => &o.meta,
            Self::MeshConfig(o) => &o.meta,
            Self::PeerAuthentication(o) => &o.meta,
            Self::AuthorizationPolicy(o) => &o.meta,
            Self::TrafficPolicy(o) => &o.meta,
            Self::FaultPolicy(o) => &o.meta,
            Self::Secret(o) => &o.meta,
            Self::ReferenceGrant(o) => &o.meta,
            Self::TlsRoute(o) | Self::TcpRoute(o) => &o.meta,
            Self::Ingress(o) => &o.meta,
            Self::IngressClass(o) => &o.meta,
            Self::ServiceEntry(o) => &o.meta,
            Self::EgressPolicy(o) => &o.meta,
            Self::ConfigMap(o) => &o.meta,
            Self::BackendTlsPolicy(o) => &o.meta,
            Self::XBackendTrafficPolicy(o) => &o.meta,
            Self::ListenerSet(o) => &o.meta,
        }
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            kind: self.kind(),
            name: self.meta().name.clone(),
        }
    }
}
