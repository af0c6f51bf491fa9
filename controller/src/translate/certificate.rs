//! A certificate with its key, as a gateway is told it.
//!
//! Invariant: it is encoded for the wire and shown nowhere else.

use std::fmt;

use culvert_proto::waypoint;
use prost::Message as _;

/// What a gateway is told.
#[derive(Clone, PartialEq)]
pub struct Certificate(waypoint::Certificate);

impl From<waypoint::Certificate> for Certificate {
    fn from(message: waypoint::Certificate) -> Self {
        Self(message)
    }
}

impl Certificate {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(..)")
    }
}
