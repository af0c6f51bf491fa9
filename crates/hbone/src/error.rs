//! What can go wrong with a tunnel, by stage: at the server, when a client dials, and when a stream is opened.
//!
//! Invariant: each error maps to exactly one [`DenyReason`].

use crate::engine::{Failure, StreamError};
use culvert_identity::TlsError;
use culvert_policy::DenyReason;
use std::io;
use std::sync::Arc;

/// Why a server's connection ended other than in order.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServerError {
    /// The client did not prove an identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS or HTTP/2 was not complete, or no CONNECT came, in time.
    #[error("the client was too slow: {0}")]
    Timeout(&'static str),
    /// The client broke HTTP/2, or the connection broke.
    #[error("HTTP/2: {0}")]
    Http2(String),
    /// The client answers no PING.
    #[error("the client is gone: nothing arrives and no PING is answered")]
    Gone,
}

impl ServerError {
    /// The reason for metrics and logs.
    #[must_use]
    pub fn deny_reason(&self) -> DenyReason {
        match self {
            Self::Tls(error) => error.deny_reason(),
            Self::Timeout(_) => DenyReason::HandshakeTimeout,
            Self::Http2(_) | Self::Gone => DenyReason::H2Failure,
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No TCP connection.
    #[error("dial: {0}")]
    Dial(Arc<io::Error>),
    /// The server did not prove the expected identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS or HTTP/2 was not complete in time.
    #[error("the server was too slow")]
    Timeout,
    /// HTTP/2 did not start.
    #[error("HTTP/2: {0}")]
    Http2(String),
}

impl ClientError {
    /// The reason for metrics and logs.
    #[must_use]
    pub fn deny_reason(&self) -> DenyReason {
        match self {
            Self::Dial(error) if error.kind() == io::ErrorKind::TimedOut => {
                DenyReason::ConnectTimeout
            }
            Self::Dial(_) => DenyReason::ConnectFailed,
            Self::Tls(error) => error.deny_reason(),
            Self::Timeout => DenyReason::HandshakeTimeout,
            Self::Http2(_) => DenyReason::H2Failure,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Dial(Arc::new(error))
    }
}

/// Why a stream was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// There is no tunnel to open it in.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server answered, and not with success.
    #[error("refused with status {status}{}", .deny_reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says of the reason. A peer's word, for logs.
        deny_reason: Option<String>,
        /// The policy that it names. A peer's word, for logs.
        policy: Option<String>,
    },
    /// The server did not answer in time.
    #[error("no answer to CONNECT in time")]
    Timeout,
    /// The server surely did nothing with the request: it may be sent again in another tunnel.
    #[error("the tunnel takes no more streams")]
    NotProcessed,
    /// The tunnel broke.
    #[error("tunnel: {0}")]
    Tunnel(String),
    /// This side takes no new streams.
    #[error("draining")]
    Draining,
}

impl ConnectError {
    /// The reason for metrics and logs.
    #[must_use]
    pub fn deny_reason(&self) -> DenyReason {
        match self {
            Self::Client(error) => error.deny_reason(),
            Self::Refused { .. } => DenyReason::PeerRefused,
            Self::Timeout => DenyReason::HandshakeTimeout,
            Self::NotProcessed | Self::Tunnel(_) => DenyReason::H2Failure,
            Self::Draining => DenyReason::Draining,
        }
    }
}

impl From<StreamError> for ConnectError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::NotProcessed => Self::NotProcessed,
            error => Self::Tunnel(error.to_string()),
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Tunnel(error.to_string())
    }
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::Gone,
            failure => Self::Http2(failure.to_string()),
        }
    }
}
