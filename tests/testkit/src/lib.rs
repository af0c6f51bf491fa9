//! What a hostile or broken peer needs: certificates that no honest authority would issue, and HTTP/2 frames of any kind.
//!
//! Nothing here checks anything: what a peer sends is what the test says, byte for byte.

pub mod authority;
pub mod frame;
pub mod hpack;
pub mod peer;

pub use authority::{Authority, Leaf};
pub use frame::Frame;
pub use peer::Peer;
