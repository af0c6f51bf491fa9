//! The data plane's side of delta ADS, and the mesh's state that it fills.
//!
//! * [`protocol`]: the state machine of the protocol, pure: what is subscribed to and held, what a response means, what
//!   to answer. [`client`] runs it over gRPC, with reconnects and backoff.
//! * [`Demand`]: what to ask for by name, for a client that takes only what it needs.
//! * [`handler`]: what a response's resources are given to. [`Store`] is one; [`Handlers`] joins several.
//! * [`state`]: workloads, services, policies and settings as immutable snapshots.
//!
//! Invariants: only what a response names is changed or removed; a resource that fails validation is refused by name
//! while the good ones of the same response apply, and its last good version stays; what was never good is unknown,
//! which for a policy means that it denies.

pub mod client;
mod demand;
pub mod fault;
pub mod handler;
mod metrics;
mod node;
pub mod protocol;
pub mod state;
mod stream;
mod version;

mod backoff;

pub use client::Client;
pub use demand::Demand;
pub use handler::{Handler, Handlers, Rejected, Resource, Update};
pub use node::node;
pub use state::Store;
pub use version::Version;
