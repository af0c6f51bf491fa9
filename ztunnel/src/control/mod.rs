//! Everything that is not the byte path: configuration and certificates from the controller, reports to it, the admin
//! server, and what has to be done at intervals. Runs on threads of its own.

mod admin;
mod mesh;
mod report;
mod upkeep;

pub(crate) use admin::{Shutdown, serve as serve_admin};
pub(crate) use mesh::follow;
pub(crate) use report::run as report;
pub(crate) use upkeep::run as upkeep;
