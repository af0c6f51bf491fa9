//! The authenticated channel to the controller.
//!
//! Invariant: nothing is sent before the controller has proved itself, by the root whose hash the join token carries or,
//! under istiod, by the mounted root and the server's name. Tokens go over this channel only, and into no Debug text.

mod access;

pub use access::{Access, AccessError, address};

use crate::tls::{self, TlsError};
use crate::{token, x509};
use boring::ssl::{SslContext, SslVerifyMode};
use culvert_runtime::net;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_boring::{SslStream, SslStreamBuilder};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};

/// The controller's name on Kubernetes, where its certificate has it.
pub const SERVER_NAME: &str = "culvert-controller.culvert-system.svc";

const CONNECT: Duration = Duration::from_secs(10);
/// Between two looks for a root that has not been written yet.
const LOOK: Duration = Duration::from_millis(200);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the controller can't be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The join token is no join token.
    #[error(transparent)]
    Token(#[from] token::TokenError),
    /// A mounted file can't be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("controller {addr}: {source}")]
    Connect {
        /// Its address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The controller didn't prove itself.
    #[error("controller {addr}: {source}")]
    Tls {
        /// Its address.
        addr: SocketAddr,
        /// What was wrong.
        source: TlsError,
    },
}

/// How this process and the controller prove themselves to each other.
#[derive(Clone)]
pub enum Auth {
    /// A standalone mesh's join token.
    JoinToken(String),
    /// Files as Kubernetes mounts them. Both are read again for each use, since they rotate.
    Mounted {
        /// The roots that sign the controller's certificate, PEM.
        root_path: PathBuf,
        /// The service-account token.
        token_path: PathBuf,
        /// The DNS name in the controller's certificate.
        server_name: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken(_) => f.write_str("JoinToken(..)"),
            Self::Mounted { token_path, .. } => f
                .debug_struct("Mounted")
                .field("token_path", token_path)
                .finish(),
        }
    }
}

/// A reconnecting channel to the controller, and the credentials for each call on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Controller {
    auth: Arc<Auth>,
    channel: Channel,
    rooted: Arc<OnceCell<()>>,
}

/// How the server is known.
enum Trust {
    Pinned(SslContext),
    Mounted {
        root_path: PathBuf,
        server_name: String,
    },
}

impl Controller {
    /// A channel that connects on first use. To be called inside a tokio runtime.
    pub fn new(addr: SocketAddr, auth: Auth) -> Result<Self, ControllerError> {
        let failed = |error: boring::error::ErrorStack| ControllerError::Tls {
            addr,
            source: error.into(),
        };
        let trust = match &auth {
            Auth::JoinToken(token) => {
                let hash = token::parse_unverified(token)?.root_hash()?;
                Trust::Pinned(pinned(hash).map_err(failed)?)
            }
            Auth::Mounted {
                root_path,
                server_name,
                ..
            } => Trust::Mounted {
                root_path: root_path.clone(),
                server_name: server_name.clone(),
            },
        };
        let trust = Arc::new(trust);
        let connector = tower::service_fn(move |_: Uri| {
            let trust = Arc::clone(&trust);
            async move { connect(addr, &trust).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from(Uri::from_static(
            "http://culvert-controller.culvert-system.svc:15012",
        ))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT)
        .connect_with_connector_lazy(connector);
        Ok(Self {
            auth: Arc::new(auth),
            channel,
            rooted: Arc::default(),
        })
    }

    /// Wait until there is a root to know the controller by. Where it is mounted, it is written by the controller's
    /// first start, which may come after ours; calls before that fail, and their callers grow patient.
    pub async fn rooted(&self) {
        let Auth::Mounted { root_path, .. } = &*self.auth else {
            return;
        };
        let look = || std::fs::metadata(root_path).is_ok_and(|file| file.len() > 0);
        let wait = async {
            if look() {
                return;
            }
            let path = root_path.display();
            tracing::info!(%path, "waiting for the root that signs the controller's certificate");
            while !look() {
                tokio::time::sleep(LOOK).await;
            }
            tracing::info!(%path, "the root is there");
        };
        self.rooted.get_or_init(|| wait).await;
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Adds the credentials to a call.
    pub fn authorize<T>(
        &self,
        mut request: tonic::Request<T>,
    ) -> Result<tonic::Request<T>, tonic::Status> {
        let token = match &*self.auth {
            Auth::JoinToken(token) => token.trim().to_owned(),
            Auth::Mounted { token_path, .. } => {
                let text =
                    read(token_path).map_err(|e| tonic::Status::unauthenticated(e.to_string()))?;
                text.trim().to_owned()
            }
        };
        let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
            tonic::Status::unauthenticated("the token holds characters that a header can't")
        })?;
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

fn read(path: &Path) -> Result<String, ControllerError> {
    std::fs::read_to_string(path).map_err(|source| ControllerError::File {
        path: path.to_owned(),
        source,
    })
}

fn pinned(root_hash: [u8; 32]) -> Result<SslContext, boring::error::ErrorStack> {
    let mut builder = tls::base()?;
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_cert_verify_callback(move |context| tls::controller(context, &root_hash));
    builder.set_alpn_protos(tls::ALPN_H2)?;
    Ok(builder.build())
}

async fn connect(addr: SocketAddr, trust: &Trust) -> Result<SslStream<TcpStream>, ControllerError> {
    let tcp = async {
        let socket = net::tcp_socket(&addr, &net::SocketOptions::default())?;
        net::connect(socket, addr, CONNECT).await
    };
    let tcp = tcp
        .await
        .map_err(|source| ControllerError::Connect { addr, source })?;
    let tls = |source| ControllerError::Tls { addr, source };
    let ssl = match trust {
        Trust::Pinned(context) => tls::session(context, None).map_err(|e| tls(e.into()))?,
        Trust::Mounted {
            root_path,
            server_name,
        } => {
            let root = read(root_path)?;
            mounted(&root, server_name).map_err(|e| tls(e.into()))?
        }
    };
    let handshake = SslStreamBuilder::new(ssl, tcp).connect();
    let stream = tokio::time::timeout(CONNECT, handshake)
        .await
        .map_err(|_| tls(TlsError::Timeout))?;
    let stream = stream.map_err(|error| tls(tls::failure(&error)))?;
    if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
        return Err(tls(TlsError::Handshake(
            "the server did not agree on ALPN h2".into(),
        )));
    }
    Ok(stream)
}

/// A session that trusts these roots for this server name.
fn mounted(
    root_pem: &str,
    server_name: &str,
) -> Result<boring::ssl::Ssl, boring::error::ErrorStack> {
    let mut builder = tls::base()?;
    builder.set_verify(SslVerifyMode::PEER);
    let mut store = boring::x509::store::X509StoreBuilder::new()?;
    for root in x509::from_pems([root_pem])? {
        store.add_cert(root)?;
    }
    builder.set_cert_store_builder(store);
    builder.set_alpn_protos(tls::ALPN_H2)?;
    let mut ssl = boring::ssl::Ssl::new(&builder.build())?;
    ssl.set_hostname(server_name)?;
    ssl.param_mut().set_host(server_name)?;
    Ok(ssl)
}

#[cfg(test)]
mod tests;
