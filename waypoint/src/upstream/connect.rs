//! One byte stream to an endpoint's application: through an HBONE tunnel, or plain where the endpoint is outside the
//! mesh.
//!
//! Invariant: an endpoint that speaks HBONE is never dialled in plain text, and must prove the identity that its
//! workload has.

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

use super::endpoint::Endpoint;
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
}

/// What a core dials with.
#[derive(Debug)]
pub struct Dialer {
    tunnels: Pool,
    certificate: CertHandle,
    /// This waypoint's name in the pool, where others have a pod's uid.
    source: Arc<str>,
    connect: Duration,
}

impl Dialer {
    /// A dialer without tunnels yet.
    pub fn new(world: &World) -> Self {
        Self {
            tunnels: Pool::new(world.tunnels.clone()),
            certificate: world.certificate.clone(),
            source: world.certificate.id().as_str().into(),
            connect: world.limits.connect,
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
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<(UpstreamIo, u64), DenyReason> {
        if endpoint.tunnelled() {
            return self.tunnel(endpoint).await;
        }
        let stream = dial(endpoint.address(), self.connect)
            .await
            .map_err(|error| {
                tracing::debug!(%error, address = %endpoint.address(), "endpoint not reached");
                match error.kind() {
                    io::ErrorKind::TimedOut => DenyReason::ConnectTimeout,
                    _ => DenyReason::ConnectFailed,
                }
            })?;
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tunnel(stream) => stream.is_write_vectored(),
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
