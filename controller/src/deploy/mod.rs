//! Waypoints as Kubernetes runs them: for each Gateway of our class a ServiceAccount, a Deployment, a Service, a
//! PodDisruptionBudget and the mesh's root certificate, and the Gateway's conditions.
//!
//! Invariants: only the leader writes; an object of the same name that is not the Gateway's own is never written; what
//! was made is the Gateway's, so that it goes with it.

mod apply;
mod class;
mod gateway;
mod objects;
mod run;
mod status;

use std::net::SocketAddr;

use crate::keys::GATEWAY_NAME;

pub use run::{Deployer, Settings};

/// The class of our Gateways.
pub const CLASS: &str = "culvert-waypoint";
/// The controller that GatewayClasses of ours name.
pub const CONTROLLER_NAME: &str = "culvert.dev/waypoint";
/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert-controller";
/// The ConfigMap of the mesh's root certificate, in our namespace and in each that has a waypoint.
const ROOT: &str = "culvert-ca-root";

const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What is the same for all waypoints.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Common {
    image: String,
    pull_policy: String,
    controller: SocketAddr,
}
