//! HTTP connections to one endpoint, kept for the next request.
//!
//! Invariants: an HTTP/1 connection serves one request at a time and is kept only after both bodies have ended. A
//! connection made with an older certificate takes no new request. Nor does one that was made under another policy of TLS,
//! or under none: connections are an endpoint's, and one with another policy is another endpoint.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use culvert_policy::DenyReason;
use culvert_runtime::task;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, oneshot};

use super::connect::{Dialer, Spoken, UpstreamIo};
use super::endpoint::Endpoint;
use super::limit::{ConnectionLimit, Places, Slot};
use crate::executor::LocalExecutor;
use crate::http::body::RequestBody;

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Idle HTTP/1 connections that are kept for one endpoint on one core.
const MAX_IDLE: usize = 512;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// HTTP/2 windows: what a stream and a connection may have in flight.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Which HTTP is spoken to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A core's connections to one endpoint.
#[derive(Debug)]
pub struct Connections {
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Shared>>,
    /// One dial of HTTP/2 at a time; others wait for its connection, or share its failure.
    dialling: Semaphore,
    failed: Cell<Option<(Instant, DenyReason)>>,
    places: Places,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    generation: u64,
    since: Instant,
}

/// An HTTP/1 connection that is not serving a request.
#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// The request in flight asks for another protocol.
    may_switch: Rc<Cell<bool>>,
    /// The stream, once the connection has changed its protocol.
    switched: oneshot::Receiver<Switched>,
}

/// The stream of a connection that changed its protocol.
#[derive(Debug)]
pub struct Switched {
    /// The stream.
    pub io: UpstreamIo,
    /// What was read from it already.
    pub read: Bytes,
    _slot: Slot,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Cell<u32>>,
    generation: u64,
    since: Rc<Cell<Instant>>,
}

/// A connection for one request.
#[derive(Debug)]
pub struct Lease {
    kind: Kind,
    generation: u64,
    reused: bool,
}

#[derive(Debug)]
enum Kind {
    Http1(Http1),
    Http2 {
        sender: http2::SendRequest<RequestBody>,
        _stream: Stream,
    },
}

/// Counts a stream of a shared connection for as long as it lives.
#[derive(Debug)]
struct Stream {
    streams: Rc<Cell<u32>>,
    since: Rc<Cell<Instant>>,
    places: Places,
}

/// What became of a request that was not answered.
#[derive(Debug)]
pub enum SendError {
    /// Not sent: here it is again.
    NotSent(Box<http::Request<RequestBody>>),
    /// The other side says that it did nothing with it.
    NotProcessed,
    /// Perhaps sent.
    Lost(hyper::Error),
}

impl SendError {
    /// HTTP/2 says of some requests that they were not processed: of refused streams, and of those that a GOAWAY in order
    /// leaves out.
    fn of(error: hyper::Error) -> Self {
        let h2 =
            std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
        let refused =
            h2.is_some_and(|h2| h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM));
        let left_out = h2.is_some_and(|h2| {
            h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR)
        });
        if refused || left_out {
            Self::NotProcessed
        } else {
            Self::Lost(error)
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            http1: RefCell::default(),
            http2: RefCell::default(),
            dialling: Semaphore::new(1),
            failed: Cell::new(None),
            places: Places::default(),
        }
    }
}

impl Connections {
    /// A connection for one request: an idle one, one with room, or a new one. Where `limit` allows none, waits for one.
    pub async fn lease(
        endpoint: &Endpoint,
        version: HttpVersion,
        dialer: &Dialer,
        limit: Option<&Arc<ConnectionLimit>>,
    ) -> Result<Lease, DenyReason> {
        let generation = dialer.generation();
        let kept = endpoint.connections();
        let asked = Instant::now();
        loop {
            if let Some(lease) = kept.existing(version, generation) {
                return Ok(lease);
            }
            if version == HttpVersion::Http1 {
                if let Some(slot) = kept.places.take(limit) {
                    return dial_http1(endpoint, dialer, slot).await;
                }
            } else {
                // The semaphore is never closed.
                let _turn = kept.dialling.acquire().await;
                if let Some(lease) = kept.existing(version, generation) {
                    return Ok(lease);
                }
                if let Some((_, reason)) = kept.failed.get().filter(|(at, _)| *at > asked) {
                    return Err(reason);
                }
                if let Some(slot) = kept.places.take(limit) {
                    let dialled = dial_http2(endpoint, dialer, slot).await;
                    let failed = dialled
                        .as_ref()
                        .err()
                        .map(|reason| (Instant::now(), *reason));
                    kept.failed.set(failed);
                    return dialled;
                }
            }
            kept.wait(limit, asked, dialer.patience()).await?;
        }
    }

    fn existing(&self, version: HttpVersion, generation: u64) -> Option<Lease> {
        match version {
            HttpVersion::Http1 => self.idle(generation),
            HttpVersion::Http2 => self.shared(generation),
        }
    }

    /// Waits for a connection of this core, if not too many wait already, and not for longer than a dial would take.
    async fn wait(
        &self,
        limit: Option<&Arc<ConnectionLimit>>,
        asked: Instant,
        patience: Duration,
    ) -> Result<(), DenyReason> {
        let _waiting = match limit {
            Some(limit) => Some(limit.wait().ok_or(DenyReason::Overload)?),
            None => None,
        };
        let left = patience.saturating_sub(asked.elapsed());
        tokio::time::timeout(left, self.places.freed())
            .await
            .map_err(|_| DenyReason::Overload)
    }

    /// A place for a connection that is no HTTP; none if the limit is reached.
    pub fn place(endpoint: &Endpoint, limit: Option<&Arc<ConnectionLimit>>) -> Option<Slot> {
        endpoint.connections().places.take(limit)
    }

    /// The idle HTTP/1 connection that was used last.
    fn idle(&self, generation: u64) -> Option<Lease> {
        let mut idle = self.http1.borrow_mut();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            let Some(last) = idle.get(index) else { break };
            if last.generation != generation || last.connection.sender.is_closed() {
                idle.remove(index);
            } else if last.connection.sender.is_ready() {
                let found = idle.remove(index);
                return Some(Lease {
                    kind: Kind::Http1(found.connection),
                    generation,
                    reused: true,
                });
            }
            // Otherwise it has not noticed the end of its response yet.
        }
        None
    }

    /// An HTTP/2 connection with room for one more stream.
    fn shared(&self, generation: u64) -> Option<Lease> {
        let mut shared = self.http2.borrow_mut();
        shared.retain(|shared| shared.generation == generation && !shared.sender.is_closed());
        let found = shared
            .iter()
            .find(|shared| shared.streams.get() < MAX_STREAMS)?;
        Some(Lease {
            kind: found.stream(&self.places),
            generation,
            reused: true,
        })
    }

    /// Closes connections that have been idle for too long.
    pub fn close_idle(&self) {
        self.http1
            .borrow_mut()
            .retain(|idle| idle.since.elapsed() < IDLE && !idle.connection.sender.is_closed());
        self.http2.borrow_mut().retain(|shared| {
            let idle = shared.streams.get() == 0 && shared.since.get().elapsed() >= IDLE;
            !idle && !shared.sender.is_closed()
        });
    }
}

impl Shared {
    fn stream(&self, places: &Places) -> Kind {
        self.streams.set(self.streams.get() + 1);
        let stream = Stream {
            streams: Rc::clone(&self.streams),
            since: Rc::clone(&self.since),
            places: places.clone(),
        };
        Kind::Http2 {
            sender: self.sender.clone(),
            _stream: stream,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.since.set(Instant::now());
        self.places.free();
    }
}

async fn dial_http1(endpoint: &Endpoint, dialer: &Dialer, slot: Slot) -> Result<Lease, DenyReason> {
    let (io, generation) = dialer.connect(endpoint, Spoken::Http1).await?;
    let (sender, connection) = http1::Builder::new()
        .handshake::<_, RequestBody>(TokioIo::new(io))
        .await
        .map_err(|_| DenyReason::ConnectFailed)?;
    let (tell, switched) = oneshot::channel();
    let may_switch = Rc::new(Cell::new(false));
    let asked = Rc::clone(&may_switch);
    task::spawn_local("upstream_http1", async move {
        let Ok(parts) = connection.without_shutdown().await else {
            return;
        };
        let mut ended = Switched {
            io: parts.io.into_inner(),
            read: parts.read_buf,
            _slot: slot,
        };
        if asked.get() {
            drop(tell.send(ended));
        } else {
            drop(ended.io.shutdown().await);
        }
    });
    Ok(Lease {
        kind: Kind::Http1(Http1 {
            sender,
            may_switch,
            switched,
        }),
        generation,
        reused: false,
    })
}

async fn dial_http2(endpoint: &Endpoint, dialer: &Dialer, slot: Slot) -> Result<Lease, DenyReason> {
    let (io, generation) = dialer.connect(endpoint, Spoken::Http2).await?;
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 * 1024)
        .handshake::<_, RequestBody>(TokioIo::new(io))
        .await
        .map_err(|_| DenyReason::ConnectFailed)?;
    task::spawn_local("upstream_http2", async move {
        let _slot = slot;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream HTTP/2 connection");
        }
    });
    let shared = Shared {
        sender,
        streams: Rc::default(),
        generation,
        since: Rc::new(Cell::new(Instant::now())),
    };
    let kind = shared.stream(&endpoint.connections().places);
    endpoint.connections().http2.borrow_mut().push(shared);
    Ok(Lease {
        kind,
        generation,
        reused: false,
    })
}

impl Lease {
    /// Which HTTP it speaks.
    pub fn version(&self) -> HttpVersion {
        match self.kind {
            Kind::Http1(_) => HttpVersion::Http1,
            Kind::Http2 { .. } => HttpVersion::Http2,
        }
    }

    /// Whether a request was sent on it before, so that its end may have been on the way already.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends the request and waits for the response's headers.
    pub async fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<hyper::body::Incoming>, SendError> {
        let lost =
            |mut error: hyper::client::conn::TrySendError<http::Request<RequestBody>>| match error
                .take_message()
            {
                Some(request) => SendError::NotSent(Box::new(request)),
                None => SendError::of(error.into_error()),
            };
        match &mut self.kind {
            Kind::Http1(connection) => {
                connection
                    .may_switch
                    .set(request.headers().contains_key(http::header::UPGRADE));
                connection
                    .sender
                    .try_send_request(request)
                    .await
                    .map_err(lost)
            }
            Kind::Http2 { sender, .. } => sender.try_send_request(request).await.map_err(lost),
        }
    }

    /// The stream, after the backend agreed to another protocol.
    pub async fn switched(self) -> Option<Switched> {
        match self.kind {
            Kind::Http1(connection) => connection.switched.await.ok(),
            Kind::Http2 { .. } => None,
        }
    }

    /// Keeps an HTTP/1 connection for another request, after both bodies have ended.
    pub fn keep(self, endpoint: &Endpoint) {
        let Kind::Http1(connection) = self.kind else {
            return;
        };
        let mut idle = endpoint.connections().http1.borrow_mut();
        if idle.len() < MAX_IDLE && !connection.sender.is_closed() {
            idle.push(Idle {
                connection,
                generation: self.generation,
                since: Instant::now(),
            });
            endpoint.connections().places.free();
        }
    }
}
