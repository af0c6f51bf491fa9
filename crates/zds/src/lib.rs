//! ZDS: how the agent of a node tells its ztunnels about the pods in the mesh, and hands them the pods'
//! network namespaces. SEQPACKET, one protobuf message a packet, namespaces beside it by SCM_RIGHTS.
//!
//! The ztunnel connects and says Hello ([`Client`]); the agent ([`Server`], [`Peer`]) sends a request
//! and waits for its Ack before the next. Stock peers work on both sides: what is ours alone are
//! fields that they ignore.
//!
//! Invariants: a packet is at most [`MAX_FRAME`] bytes; an Add carries exactly one descriptor and every
//! other packet none; descriptors that come with a refused packet are closed.

mod client;
mod error;
mod message;
mod packet;
mod server;
mod sys;

pub use client::{Client, Request};
pub use error::{DecodeError, ZdsError};
pub use message::{Message, WELL_KNOWN_MARK, Workload, WorkloadInfo, decode};
pub use server::{Peer, Pending, Server};
pub use sys::register;

/// Longest packet. A stock ztunnel reads into a buffer of this size.
pub const MAX_FRAME: usize = 1024;
