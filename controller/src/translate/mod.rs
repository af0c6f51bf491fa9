//! From the world to resources: pure functions, one for each thing that a proxy or agent is told.
//!
//! Invariant: what cannot be made sense of makes the outcome stricter, and is said in a [`Finding`].

pub mod addressed;
mod attach;
pub mod authorization;
mod backend;
pub mod backend_tls;
pub mod backend_traffic;
pub mod ca;
mod certificate;
pub mod egress;
pub mod endpoints;
pub mod enrolment;
pub mod entry;
pub mod fault;
mod finding;
pub mod gateway;
pub mod guard;
mod hosts;
pub mod ingress;
pub mod ingresses;
pub mod listener;
mod locality;
pub mod names;
mod parents;
pub mod peer_authentication;
pub mod pod;
pub mod refs;
mod resilience;
pub mod resource;
pub mod route;
mod route_filter;
pub mod service;
pub mod settings;
pub mod stream_route;
pub mod traffic;
pub mod waypoint;
pub mod workload;

pub use certificate::Certificate;
pub use finding::{ConditionType, Finding, Findings};
pub use resource::{Message, Resource, Type};
