//! What every Culvert process needs around its own work: sockets and network namespaces, the accept
//! loop, the byte copy, data cores, drain, limits, the admin server, readiness, metrics and logs.
//!
//! Invariant: nothing here knows of meshes, policies or identities, and nothing here holds a lock
//! or allocates per read on the byte path.

pub mod accept;
pub mod admin;
pub mod build;
pub mod copy;
pub mod cores;
pub mod drain;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod netns;
pub mod ready;
pub mod scratch;
pub mod signal;
pub mod task;
pub mod trace;
pub mod yaml;
