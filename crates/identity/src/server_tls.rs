//! TLS for the controller's gRPC listener: no client certificate (a token names the caller), ALPN `h2`.
//!
//! Invariants: a client that dawdles in its handshake never keeps another from being accepted; the server's own
//! certificate is signed anew at half its lifetime, and by another root when that takes over, without a restart.

use crate::ca::{Root, RootError, ServerCertificate, ServerNames};
use crate::tls::{self, TlsError};
use arc_swap::ArcSwap;
use boring::error::ErrorStack;
use boring::ssl::{Ssl, SslContext};
use culvert_runtime::drain::Drain;
use culvert_runtime::{accept, task};
use futures_util::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_boring::{SslStream, SslStreamBuilder};
use tonic::transport::server::{Connected, TcpConnectInfo};

const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once. Another client is closed at once; it comes back with a backoff.
const MAX_HANDSHAKES: usize = 512;

/// Serves TLS with a certificate of `root`.
pub struct Acceptor {
    root: ArcSwap<Root>,
    names: ServerNames,
    current: ArcSwap<Current>,
}

struct Current {
    context: SslContext,
    renew_at: SystemTime,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Signs the first certificate.
    pub fn new(root: Root, names: ServerNames) -> Result<Self, RootError> {
        let current = ArcSwap::from_pointee(Current::sign(&root, &names)?);
        Ok(Self {
            root: ArcSwap::from_pointee(root),
            names,
            current,
        })
    }

    /// Another root signs from now on. On an error the one before goes on.
    pub fn replace(&self, root: Root) -> Result<(), RootError> {
        let current = Current::sign(&root, &self.names)?;
        self.root.store(Arc::new(root));
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// Serves one handshake, within a deadline.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Connection, TlsError> {
        let info = tcp.connect_info();
        let ssl = Ssl::new(&self.context())?;
        let handshake = tokio::time::timeout(HANDSHAKE, SslStreamBuilder::new(ssl, tcp).accept());
        let stream = handshake
            .await
            .map_err(|_| TlsError::Timeout)?
            .map_err(|error| tls::failure(&error))?;
        if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            return Err(TlsError::Handshake(
                "the client did not agree on ALPN h2".into(),
            ));
        }
        Ok(Connection { stream, info })
    }

    fn context(&self) -> SslContext {
        let current = self.current.load();
        if SystemTime::now() >= current.renew_at {
            match Current::sign(&self.root.load(), &self.names) {
                Ok(new) => self.current.store(Arc::new(new)),
                Err(error) => {
                    tracing::warn!(%error, "the controller's certificate was not renewed")
                }
            }
        }
        self.current.load().context.clone()
    }
}

impl Current {
    fn sign(root: &Root, names: &ServerNames) -> Result<Self, RootError> {
        let certificate = root.sign_server(names, LIFETIME)?;
        let now = SystemTime::now();
        let remaining = certificate
            .not_after
            .duration_since(now)
            .map_err(|_| RootError::Expired)?;
        Ok(Self {
            context: context(&certificate)?,
            renew_at: now + remaining / 2,
        })
    }
}

fn context(certificate: &ServerCertificate) -> Result<SslContext, ErrorStack> {
    let mut builder = tls::base()?;
    tls::present(&mut builder, &certificate.key, &certificate.chain, true)?;
    tls::require_h2(&mut builder);
    Ok(builder.build())
}

/// Accepts from `listener` until the drain, each handshake in a task of its own. For tonic's `serve_with_incoming`.
pub fn incoming(listener: TcpListener, acceptor: Arc<Acceptor>, drain: Drain) -> Incoming {
    let (tx, rx) = mpsc::channel(16);
    let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    task::spawn("controller_accept", async move {
        accept::run(listener, drain, |tcp, peer| {
            handshake(tcp, peer, &acceptor, &slots, &tx)
        })
        .await;
    });
    Incoming(rx)
}

fn handshake(
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    acceptor: &Arc<Acceptor>,
    slots: &Arc<Semaphore>,
    out: &mpsc::Sender<io::Result<Connection>>,
) {
    let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
        tracing::debug!(%peer, "closed: too many TLS handshakes at once");
        return;
    };
    let (acceptor, out) = (Arc::clone(acceptor), out.clone());
    task::spawn("controller_handshake", async move {
        let tcp = match TcpStream::from_std(tcp) {
            Ok(tcp) => tcp,
            Err(error) => return tracing::warn!(%peer, %error, "cannot take a connection"),
        };
        match acceptor.accept(tcp).await {
            Ok(connection) => {
                drop(slot);
                // The server has gone: so has whoever would serve this connection.
                let _ = out.send(Ok(connection)).await;
            }
            Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        }
    });
}

/// Connections whose handshake is complete.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<io::Result<Connection>>);

impl Incoming {
    /// The next connection; `None` after the drain.
    pub async fn next(&mut self) -> Option<io::Result<Connection>> {
        poll_fn(|cx| self.0.poll_recv(cx)).await
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// A TLS connection that tonic can serve.
#[derive(Debug)]
pub struct Connection {
    stream: SslStream<TcpStream>,
    info: TcpConnectInfo,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
