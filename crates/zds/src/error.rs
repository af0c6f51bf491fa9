//! What can go wrong on the socket, and which of it ends the connection.

use std::io;

/// A packet that is not a message of the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not protobuf, or not of this message.
    #[error("not a ZDS message: {0}")]
    Protobuf(String),
    /// A message without the one field that says what it is.
    #[error("a ZDS message without a payload")]
    NoPayload,
    /// A workload without a uid.
    #[error("{message}: uid is empty")]
    NoUid {
        /// `Add`, `Keep` or `Del`.
        message: &'static str,
    },
    /// An address of neither 4 nor 16 bytes.
    #[error("Add of {uid}: an address of {length} bytes")]
    Address {
        /// Of the workload.
        uid: String,
        /// Of the address.
        length: usize,
    },
    /// Too few or too many descriptors for this message.
    #[error("{message} with {found} descriptors instead of {wanted}")]
    Descriptors {
        /// `Add`, `Hello`, ...
        message: &'static str,
        /// How many came.
        found: usize,
        /// How many belong.
        wanted: usize,
    },
    /// The packet or its descriptors did not fit.
    #[error("a packet of more than {max} bytes, or with too many descriptors", max = crate::MAX_FRAME)]
    Truncated,
    /// The peer speaks another version.
    #[error("ZDS version {0} is not supported")]
    Version(i32),
}

/// Why an exchange failed. Only after [`ZdsError::Rejected`] and [`ZdsError::TooLong`] is the connection still good.
#[derive(Debug, thiserror::Error)]
pub enum ZdsError {
    /// The socket failed.
    #[error("ZDS socket: {0}")]
    Io(#[from] io::Error),
    /// The peer closed the connection.
    #[error("the ZDS peer closed the connection")]
    Closed,
    /// The peer sent something that is no message, or not at its turn.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message that was not asked for.
    #[error("the ZDS peer sent a message out of turn")]
    OutOfTurn,
    /// No answer within the deadline.
    #[error("the ZDS peer did not answer within {0:?}")]
    Deadline(std::time::Duration),
    /// The peer answered with an error.
    #[error("refused by the ztunnel: {0}")]
    Rejected(String),
    /// What was to be sent does not fit into a packet.
    #[error("a ZDS message of {0} bytes exceeds {max}", max = crate::MAX_FRAME)]
    TooLong(usize),
}

impl ZdsError {
    /// Whether the connection cannot be used after this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Rejected(_) | Self::TooLong(_))
    }
}
