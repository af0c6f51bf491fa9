//! TLS that ends here: the handshake with a listener's certificate, and refusals that a client understands.
//!
//! Invariant: no byte of a client's is taken for a request before its handshake is finished, and it has shown what it is
//! asked for.

use std::fmt;

use boring::error::ErrorStack;
use boring::ssl::{Ssl, SslContext};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_boring::{SslStream, SslStreamBuilder};

use crate::config::clients::ClientValidation;

/// Fatal alerts (RFC 8446, section 6) in records of their own, for handshakes that have no keys yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alert {
    /// No listener has the server name.
    UnrecognizedName = 112,
    /// The listener can't be served.
    HandshakeFailure = 40,
}

/// Says why there will be no handshake. Whether the client hears it is its own affair.
pub(super) async fn alert<S: AsyncWrite + Unpin>(stream: &mut S, alert: Alert) {
    let record = [21, 3, 3, 0, 2, 2, alert as u8];
    if let Err(error) = async {
        stream.write_all(&record).await?;
        stream.shutdown().await
    }
    .await
    {
        tracing::debug!(%error, "the client left before its alert");
    }
}

/// A handshake that did not come about.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake: {0}")]
pub(super) struct HandshakeFailed(String);

/// Finishes a client's handshake, in which the client has to show what is asked of it. The caller sets the deadline.
pub(super) async fn accept<S>(
    context: &SslContext,
    clients: Option<&ClientValidation>,
    stream: S,
) -> Result<SslStream<S>, HandshakeFailed>
where
    S: AsyncRead + AsyncWrite + Unpin + fmt::Debug,
{
    let failed = |error: ErrorStack| HandshakeFailed(error.to_string());
    let mut ssl = Ssl::new(context).map_err(failed)?;
    if let Some(clients) = clients {
        clients.ask(&mut ssl).map_err(failed)?;
    }
    let accepted = SslStreamBuilder::new(ssl, stream).accept().await;
    let stream = accepted.map_err(|error| HandshakeFailed(error.to_string()))?;
    let ssl = stream.ssl();
    tracing::debug!(
        version = ssl.version_str(),
        group = ssl.curve_name().unwrap_or("-"),
        server_name = ssl
            .servername(boring::ssl::NameType::HOST_NAME)
            .unwrap_or("-"),
        "TLS handshake finished"
    );
    Ok(stream)
}
