//! The client's end of a tunnel.
//!
//! Invariants: a tunnel exists only to a server that proved an expected identity; its own task drives it until the last
//! handle and the last stream are gone; a CONNECT that nobody answers ends at its deadline.

mod driver;

use crate::authority::Authority;
use crate::config::TunnelConfig;
use crate::engine::{Connection, Fields, Role};
use crate::error::{ClientError, ConnectError};
use crate::headers::{ConnectHeaders, ResponseHeaders, text};
use crate::io::Transport;
use crate::refusal;
use crate::shared::Shared;
use crate::socket::{self, BufferedSocket};
use crate::stream::{Active, StreamHandle, TunnelStream};
use bytes::Bytes;
use culvert_identity::{ClientContext, SpiffeId, TlsError};
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What to open a stream to.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// Where the application wants to go.
    pub authority: Authority,
    /// What the server's telemetry is told.
    pub headers: ConnectHeaders,
    /// What the application has said already. It goes along with the CONNECT, as far as the server lets us, and the rest
    /// of it behind the answer; a CONNECT that is sent again takes it along again.
    pub ahead: Bytes,
}

/// A tunnel to one server. Cheap to clone; lives on one core.
#[derive(Clone)]
pub struct Tunnel(Rc<Inner>);

struct Inner {
    shared: Shared,
    peer: SpiffeId,
    active: Rc<Cell<usize>>,
    limit: usize,
    crowd: u64,
    connect: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.drop_opener();
    }
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
    let shake = context.connect(BufferedSocket::new(tcp), expected);
    let (tls, peer) = tokio::time::timeout(config.handshake, shake)
        .await
        .map_err(|_| TlsError::Timeout)??;
    let way = tls.get_ref().round_trip();
    Ok(start(tls, peer, way, config))
}

/// The HTTP/2 part of [`handshake`] on bytes that are not encrypted, for tests and fuzzing. `peer` is taken as proved.
pub fn over_plain<S>(io: S, peer: SpiffeId, config: &TunnelConfig) -> Tunnel
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    start(BufferedSocket::new(io), peer, None, config)
}

fn start<T: Transport + 'static>(
    io: T,
    peer: SpiffeId,
    way: Option<Duration>,
    config: &TunnelConfig,
) -> Tunnel {
    let connection = Connection::new(&config.setup(Role::Client, way));
    let shared = driver::spawn(io, connection, peer.clone(), config);
    Tunnel(Rc::new(Inner {
        shared,
        peer,
        active: Rc::default(),
        limit: config.client_streams as usize,
        crowd: config.crowd,
        connect: config.connect,
    }))
}

impl Tunnel {
    /// Opens a stream.
    pub async fn connect(
        &self,
        request: ConnectRequest,
    ) -> Result<(TunnelStream, ResponseHeaders), ConnectError> {
        let active = self.reserve();
        self.connect_reserved(&request, active).await
    }

    /// Counts a stream before it is opened, so that two tasks don't both take the last place.
    pub(crate) fn reserve(&self) -> Active {
        Active::new(&self.0.active)
    }

    pub(crate) async fn connect_reserved(
        &self,
        request: &ConnectRequest,
        active: Active,
    ) -> Result<(TunnelStream, ResponseHeaders), ConnectError> {
        let mut fields = Fields::default();
        request.headers.write(&mut fields);
        let authority = request.authority.to_string();
        let answer = tokio::time::timeout(self.0.connect, async {
            let shared = &self.0.shared;
            let opened = poll_fn(|cx| shared.with(|c| c.poll_open(&authority, &fields, cx)));
            let mut stream = StreamHandle::new(shared.clone(), opened.await?);
            stream.send_ahead(&request.ahead);
            let head = poll_fn(|cx| stream.with(|c, id| c.poll_answer(id, cx))).await?;
            Ok::<_, ConnectError>((stream, head))
        });
        let (stream, head) = answer.await.map_err(|_| ConnectError::Timeout)??;
        let status = head.status.unwrap_or_default();
        if (200..300).contains(&status) {
            let headers = ResponseHeaders::read(&head.fields);
            let mut stream = TunnelStream::new(stream, Some(active));
            stream.send_rest(&request.ahead).await?;
            return Ok((stream, headers));
        }
        // It has ended its side: so do we, which is no reset that a server might count.
        if stream.with(|c, id| c.has_ended(id)) {
            let _ = stream.with(|c, id| c.end(id));
        }
        let (deny_reason, policy) = refusal::parse(text(&head.fields, refusal::HEADER));
        Err(ConnectError::Refused {
            status,
            deny_reason,
            policy,
        })
    }

    /// Streams that are open or being opened.
    #[must_use]
    pub fn active_streams(&self) -> usize {
        self.0.active.get()
    }

    /// Streams that may be open at once: our limit, or the server's if that is lower.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        let theirs = self.0.shared.drive(|c| c.peer_streams());
        self.0.limit.min(theirs as usize)
    }

    /// Whether somebody moves so much in it that others would wait.
    pub(crate) fn is_crowded(&self) -> bool {
        self.0.shared.moved_lately() >= self.0.crowd
    }

    /// Whether a new stream may be tried: the tunnel stands and the server has not said that it closes.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0.shared.drive(|c| c.is_usable())
    }

    /// Who the server is.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.0.peer
    }
}
