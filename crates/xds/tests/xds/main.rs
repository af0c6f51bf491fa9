//! The state machine, the state and the transport, through the crate's public face.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod client;
mod common;
mod demand;
mod model;
mod policies;
mod protocol;
mod state;
