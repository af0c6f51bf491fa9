//! The messages on every wire of the mesh, generated from `protos/`. No logic lives here.
//!
//! The packages keep the wire's own names; [`type_url`] names what delta ADS carries.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the texts in protos/ carry the documentation"
)]

/// Envoy's aggregated discovery service, delta variant.
pub mod ads {
    tonic::include_proto!("envoy.service.discovery.v3");
}

/// Istio's workload API, and the protocols built on it.
pub mod istio {
    /// Workloads and services.
    pub mod workload {
        tonic::include_proto!("istio.workload");
        /// The agent's protocol to its ztunnel.
        pub mod zds {
            tonic::include_proto!("istio.workload.zds");
        }
    }
    /// Layer 4 authorization.
    pub mod security {
        tonic::include_proto!("istio.security");
    }
    /// The certificate service.
    pub mod ca {
        tonic::include_proto!("istio.v1.auth");
    }
}

/// Packages that name each other's messages, where the generated code looks for them.
mod culvert {
    pub mod waypoint {
        pub mod v1 {
            tonic::include_proto!("culvert.waypoint.v1");
        }
    }
    pub mod node {
        pub mod v1 {
            tonic::include_proto!("culvert.node.v1");
        }
    }
}

/// Agent, ztunnel and waypoint as nodes of the control plane.
pub use culvert::node::v1 as node;
/// Configuration of a waypoint.
pub use culvert::waypoint::v1 as waypoint;

/// The resource types of delta ADS.
pub mod type_url {
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
    pub const HTTP_ROUTE: &str = "type.googleapis.com/culvert.waypoint.v1.HttpRoute";
    pub const STREAM_ROUTE: &str = "type.googleapis.com/culvert.waypoint.v1.StreamRoute";
    pub const GATEWAY: &str = "type.googleapis.com/culvert.waypoint.v1.Gateway";
    pub const CERTIFICATE: &str = "type.googleapis.com/culvert.waypoint.v1.Certificate";
    pub const BACKEND_TLS_POLICY: &str = "type.googleapis.com/culvert.waypoint.v1.BackendTlsPolicy";
    pub const TRAFFIC_POLICY: &str = "type.googleapis.com/culvert.waypoint.v1.TrafficPolicy";
    pub const FAULT_POLICY: &str = "type.googleapis.com/culvert.waypoint.v1.FaultPolicy";
    pub const POD: &str = "type.googleapis.com/culvert.node.v1.Pod";
    pub const MESH_SETTINGS: &str = "type.googleapis.com/culvert.node.v1.MeshSettings";
    pub const CONNECTION_FAULT: &str = "type.googleapis.com/culvert.node.v1.ConnectionFault";
    pub const EGRESS_POLICY: &str = "type.googleapis.com/culvert.node.v1.EgressPolicy";
    pub const TRUST_BUNDLE: &str = "type.googleapis.com/culvert.node.v1.TrustBundle";
}
