//! What is translated as one.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Key, NsName};

/// Something that becomes resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// Settings, roots, and policies that are always there.
    Mesh,
    Pod(NsName),
    /// An address that slices of a namespace list.
    Endpoint(Arc<str>, IpAddr),
    Gateway(NsName),
    Service(NsName),
    PeerAuthentication(NsName),
    AuthorizationPolicy(NsName),
    /// Of any kind, an Ingress too.
    Route(Key),
    TrafficPolicy(NsName),
    FaultPolicy(NsName),
    ServiceEntry(NsName),
    EgressPolicy(NsName),
    BackendTlsPolicy(NsName),
    XBackendTrafficPolicy(NsName),
}
