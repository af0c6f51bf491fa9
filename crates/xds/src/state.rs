//! The mesh as the data plane knows it: workloads, services, policies, settings and roots of trust.
//!
//! [`Store`] takes what the control plane sends, validates it, and publishes an immutable [`Snapshot`]; readers take
//! the current snapshot without waiting and never see half an update. The snapshot is a function of the set of
//! resources, not of the order in which they came: whatever is added, replaced and removed, what results equals a
//! fresh sync of what is left.

mod decode;
mod gateway;
mod index;
mod intern;
mod policies;
mod service;
mod services;
mod settings;
mod snapshot;
mod store;
mod workload;
mod workloads;
mod writer;

pub use decode::{Invalid, TARGETS_EXTENSION, UnreadablePolicy, decode_policy};
pub use gateway::{GatewayDestination, GatewayRef};
pub use policies::{AttachedPolicy, Attachment, MissingPolicy, ServiceTarget};
pub use service::{
    AppProtocol, Families, HealthPolicy, LoadBalancing, LoadBalancingMode, LoadBalancingScope,
    Service, ServicePort,
};
pub use settings::{Settings, TrustRoots};
pub use snapshot::{Endpoint, Snapshot};
pub use store::Store;
pub use workload::{
    ApplicationTunnel, Locality, PortMapping, ServiceBinding, Tunnel, Workload, WorkloadType,
};
