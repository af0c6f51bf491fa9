//! What a client says first, read without an answer: whom it wants to speak with.
//!
//! Invariants: what is read goes on byte for byte to whoever the client reaches; what is no name of a host in one
//! canonical form is none; however long a client speaks and whatever it says, so much is read and no more.

pub mod hello;
pub mod host;
pub mod name;
