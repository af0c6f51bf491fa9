//! TLS to an application: whom to ask for, whom to trust, what to prove oneself with.
//!
//! Invariants: a context is made once for each set of settings and never for a connection. There is no way to make a
//! client that does not verify.

use std::fmt;
use std::time::Duration;

use boring::error::ErrorStack;
use boring::ssl::{SslContext, SslVerifyMode};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use boring::x509::verify::X509VerifyFlags;
use culvert_policy::DenyReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_boring::{SslStream, SslStreamBuilder};

use super::names::Name;
use super::verify::{self, Unfit};
use super::{base, system};
use crate::config::certificate::Certificate;

/// What a client is made from.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The server name that is asked for.
    pub server_name: Box<str>,
    /// The certificate has to have one of these. None at all: it never has.
    pub names: Vec<Name>,
    /// Whom to trust.
    pub trust: Trust,
}

/// Whom to trust.
#[derive(Clone)]
pub enum Trust {
    /// Whom the system trusts.
    System,
    /// These, and who stands below them.
    Authorities(Vec<X509>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Authorities(all) => write!(f, "{} authorities", all.len()),
        }
    }
}

/// Which protocol is offered by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`; a server that knows no ALPN will do.
    Http1,
    /// `h2`, which the server has to choose (RFC 9113, section 3.2).
    Http2,
    /// None: bytes of whatever protocol.
    None,
}

/// Begins TLS with one kind of server.
pub struct TlsClient {
    context: SslContext,
    server_name: Box<str>,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's authorities cannot be read.
    #[error("the system's certificate authorities: {0}")]
    System(String),
    /// BoringSSL does not take the settings.
    #[error(transparent)]
    Ssl(#[from] ErrorStack),
}

/// Why there is no TLS with a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Its certificate does not fit.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It did not choose HTTP/2.
    #[error("it does not speak HTTP/2: no `h2` by ALPN")]
    NoHttp2,
    /// Something else.
    #[error("TLS handshake: {0}")]
    Handshake(String),
    /// It took too long.
    #[error("TLS handshake took more than {0:?}")]
    Late(Duration),
}

impl TlsError {
    /// The reason in metrics and answers.
    pub fn deny_reason(&self) -> DenyReason {
        match self {
            Self::Unfit(Unfit::Untrusted(_)) => DenyReason::BackendCertificateUntrusted,
            Self::Unfit(Unfit::OutOfDate(_)) => DenyReason::BackendCertificateExpired,
            Self::Unfit(Unfit::Name(_)) => DenyReason::BackendCertificateName,
            Self::NoHttp2 | Self::Handshake(_) => DenyReason::BackendTls,
            Self::Late(_) => DenyReason::HandshakeTimeout,
        }
    }
}

impl Alpn {
    fn offered(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"\x08http/1.1",
            Self::Http2 => b"\x02h2",
            Self::None => b"",
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// A client that proves itself with `own`, if a server asks for that.
    pub fn new(settings: &TlsSettings, own: Option<&Certificate>) -> Result<Self, SetupError> {
        let authorities = match &settings.trust {
            Trust::System => system::authorities().map_err(SetupError::System)?,
            Trust::Authorities(authorities) => authorities,
        };
        let mut builder = base()?;
        let mut store = X509StoreBuilder::new()?;
        for authority in authorities {
            store.add_cert(authority)?;
        }
        // Whoever is named is trusted, be it a root or an authority below one.
        store.try_set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        builder.set_cert_store_builder(store);
        builder.set_verify(SslVerifyMode::PEER);
        builder.set_verify_depth(verify::MAX_DEPTH);
        let names: Box<[Name]> = settings.names.as_slice().into();
        builder.set_cert_verify_callback(move |context| verify::check(context, &names));
        if let Some(own) = own {
            own.present(&mut builder)?;
        }
        Ok(Self {
            context: builder.build(),
            server_name: settings.server_name.clone(),
        })
    }

    /// Shakes hands over `stream`, in `deadline` at most.
    pub async fn connect<S>(
        &self,
        stream: S,
        alpn: Alpn,
        deadline: Duration,
    ) -> Result<SslStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin + fmt::Debug,
    {
        let failed = |error: ErrorStack| TlsError::Handshake(error.to_string());
        let mut ssl = verify::session(&self.context).map_err(failed)?;
        ssl.set_hostname(&self.server_name).map_err(failed)?;
        if alpn != Alpn::None {
            ssl.set_alpn_protos(alpn.offered()).map_err(failed)?;
        }
        let connecting = SslStreamBuilder::new(ssl, stream).connect();
        let connected = tokio::time::timeout(deadline, connecting)
            .await
            .map_err(|_| TlsError::Late(deadline))?;
        let stream = connected.map_err(|error| match error.ssl().and_then(verify::outcome) {
            Some(unfit) => TlsError::Unfit(unfit),
            None => TlsError::Handshake(error.to_string()),
        })?;
        if alpn == Alpn::Http2 && stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            return Err(TlsError::NoHttp2);
        }
        Ok(stream)
    }
}
