//! Clients from outside the mesh, at the listeners of a Gateway.
//!
//! `accept -> admit -> (hello -> listener -> handshake) -> HTTP or bytes`
//!
//! Invariants: such a client has an address and no identity. Nothing is read from it before the Gateway's own policies
//! have let its address pass, and every wait for it has an end.

mod admit;
mod handshakes;
mod ports;
mod serve;
mod tls;

pub use culvert_sniff::hello;
pub use handshakes::Handshakes;
pub use ports::{OpenPort, Ports};
pub(crate) use serve::serve;
