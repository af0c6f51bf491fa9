//! What the suites in `tests/` share: a small mesh with a client on one node and a server on the other.
//!
//! Each suite's test runs in a private world (see `culvert_lab::test`), so suites run side by side and leave nothing.

pub mod client;
mod fixture;

pub use fixture::{Fixture, VIP4, VIP6, policy, port, start_echo, workload};
