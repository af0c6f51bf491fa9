//! Mutual TLS between workloads: TLS 1.3, X25519MLKEM768 before X25519, ALPN `h2`, no SNI, no resumption.
//!
//! Invariants: a stream is handed out only together with the identity that its peer proved, against the trust bundle,
//! for the right purpose, within its validity; whatever is missing or odd fails the handshake with its own [`TlsError`].

mod context;
mod verify;

use crate::SpiffeId;
use boring::error::ErrorStack;
use boring::ssl::SslContext;
use culvert_policy::DenyReason;
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_boring::{HandshakeError, SslStream, SslStreamBuilder};

pub(crate) use context::{ALPN_H2, Credentials, base, present, require_h2};
pub(crate) use verify::{controller, failure, session};

/// Why no trusted connection came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The peer has shown no certificate.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// No chain from the peer's certificate to a trusted root.
    #[error("the peer's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The peer's certificate, or one above it, has expired.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate, or one above it, starts in the future.
    #[error("the peer's certificate is not yet valid")]
    NotYetValid,
    /// The peer's certificate is for something else.
    #[error("the peer's certificate is not for this use")]
    WrongPurpose,
    /// The peer belongs to another mesh.
    #[error("the peer {peer} is of another trust domain than {own}")]
    TrustDomain {
        /// Who it is.
        peer: SpiffeId,
        /// Our trust domain.
        own: String,
    },
    /// The peer's certificate does not name exactly one workload.
    #[error("the peer's certificate names no workload: {0}")]
    Malformed(String),
    /// The peer is somebody else than the caller expected.
    #[error("the peer is {peer}, who was not expected")]
    UnexpectedIdentity {
        /// Who it is.
        peer: SpiffeId,
    },
    /// TLS itself failed: no TLS, no common version, no ALPN, or the connection broke.
    #[error("TLS handshake: {0}")]
    Handshake(String),
    /// The peer took too long.
    #[error("the TLS handshake took too long")]
    Timeout,
}

impl TlsError {
    /// The reason under which the connection is refused.
    #[must_use]
    pub fn deny_reason(&self) -> DenyReason {
        match self {
            Self::NoCertificate => DenyReason::CertificateMissing,
            Self::Untrusted(_) => DenyReason::CertificateUntrusted,
            Self::Expired => DenyReason::CertificateExpired,
            Self::NotYetValid => DenyReason::CertificateNotYetValid,
            Self::WrongPurpose => DenyReason::CertificateWrongUsage,
            Self::TrustDomain { .. } => DenyReason::TrustDomainMismatch,
            Self::Malformed(_) => DenyReason::IdentityMalformed,
            Self::UnexpectedIdentity { .. } => DenyReason::IdentityUnexpected,
            Self::Handshake(_) => DenyReason::TlsHandshake,
            Self::Timeout => DenyReason::HandshakeTimeout,
        }
    }
}

impl From<ErrorStack> for TlsError {
    fn from(error: ErrorStack) -> Self {
        Self::Handshake(error.to_string())
    }
}

/// The server's side of mutual TLS for one identity. Built once, cheap to clone.
#[derive(Clone)]
pub struct ServerContext(SslContext);

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerContext(..)")
    }
}

impl ServerContext {
    pub(crate) fn new(credentials: &Credentials<'_>) -> Result<Self, ErrorStack> {
        context::server(credentials).map(Self)
    }

    /// Serves a handshake: the stream, and who the client is. The caller sets the deadline.
    pub async fn accept<IO>(&self, io: IO) -> Result<(SslStream<IO>, SpiffeId), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + fmt::Debug,
    {
        let ssl = verify::session(&self.0, None)?;
        finish(SslStreamBuilder::new(ssl, io).accept().await)
    }
}

/// The client's side of mutual TLS for one identity. Built once, cheap to clone.
#[derive(Clone)]
pub struct ClientContext(SslContext);

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientContext(..)")
    }
}

impl ClientContext {
    pub(crate) fn new(credentials: &Credentials<'_>) -> Result<Self, ErrorStack> {
        context::client(credentials).map(Self)
    }

    /// Connects to a server that must be one of `expected`: the stream, and which one it is. Nobody else learns our
    /// certificate. The caller sets the deadline.
    pub async fn connect<IO>(
        &self,
        io: IO,
        expected: &[SpiffeId],
    ) -> Result<(SslStream<IO>, SpiffeId), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + fmt::Debug,
    {
        let ssl = verify::session(&self.0, Some(expected.into()))?;
        finish(SslStreamBuilder::new(ssl, io).connect().await)
    }
}

fn finish<IO>(
    result: Result<SslStream<IO>, HandshakeError<IO>>,
) -> Result<(SslStream<IO>, SpiffeId), TlsError>
where
    IO: fmt::Debug,
{
    let stream = result.map_err(|error| verify::failure(&error))?;
    if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
        return Err(TlsError::Handshake(
            "the peer did not agree on ALPN h2".into(),
        ));
    }
    let peer = verify::outcome(stream.ssl()).unwrap_or(Err(TlsError::NoCertificate))?;
    Ok((stream, peer))
}

#[cfg(test)]
mod tests;
