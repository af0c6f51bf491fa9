//! The shapes of what a user writes: Gateway API objects and Culvert's own kinds, as serde reads them.
//!
//! Names are those of the Gateway API and of Istio where they mean the same. Every field that a person may write is
//! here: an unknown one is an error of the reader ([`crate::admit`]). A field that is accepted without having an effect
//! has the type [`Unused`]. Values with a form of their own (durations, ports, address blocks) have types that only hold
//! good ones, so that an error carries the path of its field.

mod authorization;
mod backend_tls;
mod backend_traffic;
mod cors;
mod egress;
mod fault;
mod gateway;
mod grpc_route;
mod http_route;
mod locality;
mod mesh_config;
mod peer_authentication;
mod reference_grant;
mod resilience;
mod service_entry;
mod stream_route;
mod traffic;
mod values;

pub use authorization::{
    Action, AuthorizationPolicySpec, Condition, From, Operation, Rule, Source, To,
};
pub use backend_tls::{
    BackendTlsPolicySpec, BackendTlsValidation, LocalRef, PolicyTarget, SubjectAltName,
    SubjectAltNameType,
};
pub use backend_traffic::BackendTrafficPolicySpec;
pub use cors::Cors;
pub use egress::{EgressPeer, EgressPolicySpec, EgressPort, EgressRule};
pub use fault::{
    Abort, Blackhole, Delay, Exponential, FaultMatch, FaultPolicySpec, GrpcStatus, Normal,
    Percentage, Reset, TcpFault, Throttle, Uniform,
};
pub use gateway::{
    Addresses, AllowedListeners, AllowedRoutes, ClientValidation, FromNamespaces, FrontendTls,
    GatewayBackendTls, GatewayClassSpec, GatewayShape, GatewayTls, Listener, ListenerNamespaces,
    ListenerSetParent, ListenerSetSpec, ListenerTls, ObjectRef, PortTls, RouteKind,
    RouteNamespaces, TlsMode, TlsOfPort, ValidationMode,
};
pub use grpc_route::{GrpcMatch, GrpcRouteSpec, GrpcRule, MethodMatch};
pub use http_route::{
    BackendRef, Filter, FilterType, Fraction, HeaderModifier, HeaderValue, HttpRouteSpec,
    MatchType, Mirror, ParentRef, PathMatch, PathMatchType, PathModifier, PathModifierType,
    Redirect, Rewrite, RouteMatch, RouteRetry, RouteRule, Timeouts, ValueMatch,
};
pub use locality::{Locality, LocalityLevel, LocalityMode, RegionFailover};
pub use mesh_config::{
    CaptureExclusions, HostOwnership, MeshConfigSpec, OutboundTraffic, SameNode, ServiceEntries,
};
pub use peer_authentication::{Mode, MutualTls, PeerAuthenticationSpec};
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrantSpec};
pub use resilience::{
    ConsistentHash, CookieConfig, CookieLifetime, HttpCookie, OutlierDetection, SessionPersistence,
    SessionType, SlowEndpoints, SuccessRate, Warmup,
};
pub use service_entry::{EntryEndpoint, EntryPort, Location, Resolution, ServiceEntrySpec};
pub use stream_route::{StreamRouteSpec, StreamRule};
pub use traffic::{
    Budget, ConnectionPool, HttpPool, LoadBalancer, LoadBalancerSimple, Rate, Retries,
    RetryConstraint, TargetRef, TcpPool, TrafficPolicySpec, WorkloadSelector,
};
pub use values::{Duration, Ipnet, Port, Time, Unused};
