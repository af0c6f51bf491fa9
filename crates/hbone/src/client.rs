//! The client's end of a tunnel.
//!
//! Invariants: a tunnel exists only to a server that proved an expected identity; its own task drives it until the last
//! handle and the last stream are gone; a CONNECT that nobody answers ends at its deadline.

mod driver;

use crate::authority::Authority;
use crate::config::TunnelConfig;
use crate::error::{ClientError, ConnectError};
use crate::headers::{ConnectHeaders, ResponseHeaders, text};
use crate::io::Io;
use crate::refusal;
use crate::socket::{self, BufferedSocket};
use crate::stream::{Active, TunnelStream};
use bytes::Bytes;
use culvert_identity::{ClientContext, SpiffeId, TlsError};
use h2::client::SendRequest;
use http::{Method, Request, Uri, Version};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::net::TcpStream;

/// What to open a stream to.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// Where the application wants to go.
    pub authority: Authority,
    /// What the server's telemetry is told.
    pub headers: ConnectHeaders,
}

/// A tunnel to one server. Cheap to clone; lives on one core.
#[derive(Clone)]
pub struct Tunnel(Rc<Inner>);

struct Inner {
    requests: SendRequest<Bytes>,
    peer: SpiffeId,
    active: Arc<AtomicUsize>,
    limit: usize,
    connect: Duration,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Tunnel");
        debug
            .field("peer", &self.0.peer)
            .field("streams", &self.active_streams())
            .finish_non_exhaustive()
    }
}

/// Makes a tunnel of a TCP connection to one of `expected`. To be called where local tasks can be spawned: the tunnel is
/// driven by one.
pub async fn handshake(
    tcp: TcpStream,
    context: &ClientContext,
    expected: &[SpiffeId],
    config: &TunnelConfig,
) -> Result<Tunnel, ClientError> {
    socket::prepare(&tcp);
    let shake = async {
        let (tls, peer) = context.connect(BufferedSocket::new(tcp), expected).await?;
        let io = Io::new(tls);
        let h2 = config.client().handshake(io.clone()).await;
        let (requests, connection) = h2.map_err(|error| ClientError::Http2(error.to_string()))?;
        Ok::<_, ClientError>((requests, connection, io, peer))
    };
    let (requests, connection, io, peer) = tokio::time::timeout(config.handshake, shake)
        .await
        .map_err(|_| TlsError::Timeout)??;
    driver::spawn(connection, io, peer.clone(), config);
    Ok(Tunnel(Rc::new(Inner {
        requests,
        peer,
        active: Arc::default(),
        limit: config.client_streams as usize,
        connect: config.connect,
    })))
}

impl Tunnel {
    /// Opens a stream.
    pub async fn connect(
        &self,
        request: ConnectRequest,
    ) -> Result<(TunnelStream, ResponseHeaders), ConnectError> {
        let active = self.reserve();
        self.connect_reserved(request, active).await
    }

    /// Counts a stream before it is opened, so that two tasks don't both take the last place.
    pub(crate) fn reserve(&self) -> Active {
        Active::new(&self.0.active)
    }

    pub(crate) async fn connect_reserved(
        &self,
        request: ConnectRequest,
        active: Active,
    ) -> Result<(TunnelStream, ResponseHeaders), ConnectError> {
        let mut requests = self.0.requests.clone().ready().await?;
        let (response, send) = requests.send_request(build(&request)?, false)?;
        // The handle alone must not keep the tunnel open.
        drop(requests);
        let response = tokio::time::timeout(self.0.connect, response)
            .await
            .map_err(|_| ConnectError::Timeout)??;
        let (head, recv) = response.into_parts();
        if head.status.is_success() {
            let headers = ResponseHeaders::read(&head.headers);
            return Ok((TunnelStream::new(send, recv, Some(active)), headers));
        }
        let (deny_reason, policy) = refusal::parse(text(&head.headers, &refusal::HEADER));
        Err(ConnectError::Refused {
            status: head.status.as_u16(),
            deny_reason,
            policy,
        })
    }

    /// Streams that are open or being opened.
    #[must_use]
    pub fn active_streams(&self) -> usize {
        self.0.active.load(Ordering::Relaxed)
    }

    /// Streams that may be open at once: our limit, or the server's if that is lower.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.0.limit.min(self.0.requests.current_max_send_streams())
    }

    /// Whether a new stream may be tried: the tunnel stands and the server has not said that it closes.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(
            self.0.requests.clone().poll_ready(&mut cx),
            std::task::Poll::Ready(Err(_))
        )
    }

    /// Who the server is.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.0.peer
    }
}

fn build(request: &ConnectRequest) -> Result<Request<()>, ConnectError> {
    let malformed = |error: http::Error| ConnectError::Tunnel(error.to_string());
    let uri = Uri::builder()
        .authority(request.authority.to_string())
        .build()
        .map_err(malformed)?;
    let mut head = Request::builder()
        .method(Method::CONNECT)
        .uri(uri)
        .version(Version::HTTP_2)
        .body(())
        .map_err(malformed)?;
    request.headers.write(head.headers_mut());
    Ok(head)
}
