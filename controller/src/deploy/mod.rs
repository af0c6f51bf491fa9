//! Waypoints and gateways as Kubernetes runs them: for each Gateway of a class of ours a ServiceAccount, a Deployment, a
//! Service, a PodDisruptionBudget and the mesh's root certificate, and the Gateway's status.
//!
//! Both are one path: what is wanted is read from the Gateway, objects are made from that alone, and only what the pods
//! take and how the Service is reached differ. Invariants: only the leader writes; an object of the same name that is not
//! the Gateway's own is never written; what was made is the Gateway's, so that it goes with it; what is said of a Gateway's
//! generation is known of that generation.

mod apply;
mod class;
mod exposure;
mod features;
mod gateway;
mod ingress;
mod line;
mod mesh;
mod objects;
mod requested;
mod run;
mod status;
mod tell;

use std::net::SocketAddr;

use crate::keys::GATEWAY_NAME;

pub use run::{Deployer, Heard, Settings};

/// The class of Gateways that are waypoints.
pub const WAYPOINT_CLASS: &str = "culvert-waypoint";
/// The controller that the class of waypoints names.
pub const WAYPOINT_CONTROLLER: &str = "culvert.dev/waypoint";
/// The controller that classes of gateways name. Any class that does is ours; its name means nothing.
pub use crate::status::kube::CONTROLLER as GATEWAY_CONTROLLER;
/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert-controller";
/// The ConfigMap of the mesh's root certificate, in our namespace and in each that has a waypoint or gateway.
const ROOT: &str = "culvert-ca-root";

const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What is the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Common {
    image: String,
    pull_policy: String,
    controller: SocketAddr,
}
