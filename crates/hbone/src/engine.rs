//! HTTP/2 (RFC 9113) for CONNECT and nothing else: a state machine that is given the bytes that arrived and the time,
//! and gives the bytes to be sent. It does no I/O, reads no clock and spawns nothing; the wakers it keeps are those of
//! the tasks that wait for a stream.
//!
//! Invariants: whatever arrives, it neither panics nor keeps more than [`limits::Limits`] and the windows allow; an
//! error of the peer ends the stream or the connection, never another stream; an idle stream, and an idle connection,
//! own no buffers.

mod connection;
mod frame;
mod head;
mod hpack;
mod limits;
mod output;
mod parser;
mod queue;
mod stream;

#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Role, Setup};
pub(crate) use frame::Code;
pub(crate) use head::{Fields, Head};
pub(crate) use hpack::Decoder;
pub(crate) use limits::Limits;

use std::io;

/// What a peer did that ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) Code, pub(crate) &'static str);

/// Why a connection is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The peer broke a rule or a limit.
    #[error("the peer sent {what} ({code})")]
    Violation {
        /// As the peer was told.
        code: Code,
        /// What it sent.
        what: &'static str,
    },
    /// The peer gave this reason, and left.
    #[error("the peer ended the connection ({0})")]
    Peer(Code),
    /// The peer left while there were streams.
    #[error("the peer left")]
    Left,
    /// The transport failed.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// Nothing arrives any more.
    #[error("the peer answers no PING")]
    Gone,
    /// Whoever drove the connection stopped.
    #[error("the tunnel is closed")]
    Closed,
}

/// Why a stream takes or gives no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    /// The peer reset it.
    #[error("the peer reset the stream ({0})")]
    Reset(Code),
    /// It was reset here.
    #[error("the stream was reset ({0})")]
    Local(Code),
    /// The peer surely did nothing with it.
    #[error("the peer takes no more streams")]
    NotProcessed,
    /// This side has ended it already.
    #[error("the stream was ended here")]
    Ended,
    /// The connection is no more.
    #[error("tunnel: {0}")]
    Connection(Failure),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset(_) | StreamError::Local(_) | StreamError::NotProcessed => {
                io::ErrorKind::ConnectionReset
            }
            StreamError::Ended => io::ErrorKind::BrokenPipe,
            StreamError::Connection(Failure::Io(kind)) => kind,
            StreamError::Connection(_) => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}
