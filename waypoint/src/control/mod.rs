//! Everything that is not a request's way: configuration and certificates from the controller, reports to it, and the
//! admin server. Runs on threads of its own.

mod admin;
mod dump;
mod report;
mod xds;

pub(crate) use admin::{Shown, Shutdown, serve as serve_admin};
pub(crate) use report::run as report;
pub(crate) use xds::{RouteFeed, follow_trust, run as run_xds};
