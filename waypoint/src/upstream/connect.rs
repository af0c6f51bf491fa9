//! One byte stream to an endpoint's application: through an HBONE tunnel, or plain where the endpoint is outside the
//! mesh; in TLS where a policy says so, inside of the tunnel if there is one.
//!
//! Invariants: an endpoint that speaks HBONE is never dialled in plain text, and must prove the identity that its
//! workload has. An endpoint with a policy of TLS is reached as that says or not at all.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use culvert_hbone::{ConnectHeaders, ConnectRequest, Pool, PoolKey, TunnelStream};
use culvert_identity::CertHandle;
use culvert_policy::DenyReason;
use culvert_runtime::net::{self, SocketOptions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_boring::SslStream;

use super::endpoint::Endpoint;
use super::outside::Outside;
use crate::routes::Origination;
use crate::telemetry::series;
use crate::tls::client::{Alpn, TlsClient, TlsError};
use crate::world::World;

/// The port at which node proxies take HBONE.
const HBONE_PORT: u16 = 15008;

/// A stream to an endpoint's application.
#[derive(Debug)]
pub enum UpstreamIo {
    /// Through a tunnel.
    Tunnel(TunnelStream),
    /// In plain text.
    Plain(TcpStream),
    /// In TLS with the application, over one of the others.
    Tls(Box<SslStream<UpstreamIo>>),
}

/// What is spoken on a connection, beside what a policy of TLS adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes of whatever protocol.
    Bytes,
    /// TLS of the client's own, which ends at the application. It is carried as it is.
    Tls,
}

/// What a core dials with.
#[derive(Debug)]
pub struct Dialer {
    tunnels: Pool,
    certificate: CertHandle,
    /// This waypoint's name in the pool, where others have a pod's uid.
    source: Arc<str>,
    connect: Duration,
    outside: Outside,
    handshake: Duration,
}

impl Dialer {
    /// A dialer without tunnels yet.
    pub fn new(world: &World) -> Self {
        Self {
            tunnels: Pool::new(world.tunnels.clone()),
            certificate: world.certificate.clone(),
            source: world.certificate.id().as_str().into(),
            connect: world.limits.connect,
            outside: Outside::new(world),
            handshake: world.limits.handshake,
        }
    }

    /// The generation of this waypoint's certificate; 0 while there is none.
    pub fn generation(&self) -> u64 {
        self.certificate
            .current()
            .map_or(0, |identity| identity.generation)
    }

    /// How long a connection may take.
    pub fn patience(&self) -> Duration {
        self.connect
    }

    /// Connects to an endpoint's application. Also says with which generation of the certificate.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        spoken: Spoken,
    ) -> Result<(UpstreamIo, u64), DenyReason> {
        let Some(origination) = endpoint.tls().filter(|_| spoken != Spoken::Tls) else {
            return self.reach(endpoint).await;
        };
        let client = origination.client()?;
        let (io, generation) = self.reach(endpoint).await?;
        let shaken = self.secure(io, client, spoken);
        let stream = shaken
            .await
            .map_err(|error| failed(endpoint, origination, &error))?;
        Ok((UpstreamIo::Tls(Box::new(stream)), generation))
    }

    async fn secure(
        &self,
        io: UpstreamIo,
        client: &TlsClient,
        spoken: Spoken,
    ) -> Result<SslStream<UpstreamIo>, TlsError> {
        let alpn = match spoken {
            Spoken::Http1 => Alpn::Http1,
            Spoken::Http2 => Alpn::Http2,
            Spoken::Bytes | Spoken::Tls => Alpn::None,
        };
        client.connect(io, alpn, self.handshake).await
    }

    async fn reach(&self, endpoint: &Endpoint) -> Result<(UpstreamIo, u64), DenyReason> {
        if endpoint.tunnelled() {
            return self.tunnel(endpoint).await;
        }
        let stream = match endpoint.name() {
            Some(name) => self.outside.dial(endpoint, name, self.connect).await?,
            None => plain(endpoint.address(), self.connect).await?,
        };
        Ok((UpstreamIo::Plain(stream), self.generation()))
    }

    async fn tunnel(&self, endpoint: &Endpoint) -> Result<(UpstreamIo, u64), DenyReason> {
        let identity = self
            .certificate
            .current()
            .ok_or(DenyReason::CertificateUnavailable)?;
        let (hbone, authority) = match endpoint.hop() {
            Some(hop) => (hop.hbone, hop.authority.clone()),
            None => {
                let address = endpoint.address();
                (SocketAddr::new(address.ip(), HBONE_PORT), address.into())
            }
        };
        let key = PoolKey {
            source: Arc::clone(&self.source),
            identity: identity.id.clone(),
            destination: Arc::clone(endpoint.uid()),
            addr: hbone,
        };
        let request = ConnectRequest {
            authority,
            headers: ConnectHeaders::default(),
            ahead: Bytes::new(),
        };
        let connected = self.tunnels.connect(
            &key,
            async || dial(hbone, self.connect).await,
            &identity,
            endpoint.expected(),
            request,
        );
        match connected.await {
            Ok((stream, _)) => Ok((UpstreamIo::Tunnel(stream), identity.generation)),
            Err(error) => {
                tracing::debug!(%error, endpoint = %endpoint.uid(), "endpoint not reached");
                Err(error.deny_reason())
            }
        }
    }
}

/// Dials an endpoint as it is.
pub(super) async fn plain(
    address: SocketAddr,
    deadline: Duration,
) -> Result<TcpStream, DenyReason> {
    dial(address, deadline).await.map_err(|error| {
        tracing::debug!(%error, %address, "endpoint not reached");
        match error.kind() {
            io::ErrorKind::TimedOut => DenyReason::ConnectTimeout,
            _ => DenyReason::ConnectFailed,
        }
    })
}

/// TLS that did not come about.
fn failed(endpoint: &Endpoint, origination: &Origination, error: &TlsError) -> DenyReason {
    let (policy, reason) = (origination.policy(), error.deny_reason());
    series::backend_tls_failed(policy, reason.as_str());
    tracing::info!(endpoint = %endpoint.uid(), address = %endpoint.address(), %policy, %reason, %error, "no TLS with the backend");
    reason
}

async fn dial(address: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let socket = net::tcp_socket(&address, &SocketOptions::default())?;
    net::connect(socket, address, deadline).await
}

impl UpstreamIo {
    /// Makes the coming drop a reset, as the other side's end was none in order.
    pub fn reset(&mut self) {
        match self {
            Self::Tunnel(stream) => stream.reset(),
            Self::Plain(stream) => {
                if let Err(error) = net::set_reset_on_close(stream) {
                    tracing::debug!(%error, "endpoint's connection is closed already");
                }
            }
            Self::Tls(stream) => stream.get_mut().reset(),
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tunnel(stream) => stream.is_write_vectored(),
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
