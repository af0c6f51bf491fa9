//! One client's connection, served as HTTP until its end or a change of protocol.
//!
//! Invariant: when the drain starts, requests in flight are finished and no further one is taken.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use culvert_policy::DenyReason;
use culvert_runtime::limits::Limits;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Connection;
use super::activity::Activity;
use super::upgrade::UpgradeSlot;
use crate::client::Client;
use crate::executor::LocalExecutor;
use crate::framing::{Guard, Watched};
use crate::telemetry::series;
use crate::world::Session;

/// Most headers of one request.
const MAX_HEADERS: usize = 200;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 200;
/// HTTP/2 windows: what a stream and a connection may have in flight.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How long, and for how many bytes, a client that still sends is read from after the end.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;
/// How long a client of HTTP/2 that has rested is told so.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves HTTP/1.
pub async fn http1<S>(session: Rc<Session>, stream: S) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let client = Rc::clone(&session.client);
    let limits = &session.core.world.limits;
    let stream = Watched::new(stream);
    let watcher = stream.clone();
    let guard = Guard::new(stream, limits.request_header);
    let drain = session.drain.clone();
    let (header_bytes, idle) = (limits.header_bytes, session.stream_idle());
    let bounded = bounded(&session);
    let (upgrade, activity) = (Rc::<UpgradeSlot>::default(), Rc::<Activity>::default());
    let connection = Connection {
        session,
        switch: Some(guard.switch()),
        upgrade: Rc::clone(&upgrade),
        activity: Rc::clone(&activity),
    };
    let service = service_fn(move |request| {
        let served = connection.clone().serve(request);
        Box::pin(async move { Ok::<_, Infallible>(served.await) })
    });
    let mut http = http1::Builder::new()
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(header_bytes)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(guard), service);
    let mut draining = pin!(drain.signaled());
    let mut rested = pin!(activity.rested(bounded.as_deref()));
    let mut told = false;
    let result = loop {
        tokio::select! {
            biased;
            ended = std::future::poll_fn(|cx| http.poll_without_shutdown(cx)) => break ended,
            error = std::future::poll_fn(|cx| watcher.poll_gone(cx)) => {
                // The client is gone, and with it whoever the answer is for.
                tracing::debug!(%error, "client gone");
                return Ok(());
            }
            () = &mut rested => break Ok(()),
            () = &mut draining, if !told => {
                told = true;
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    if result.as_ref().is_err_and(hyper::Error::is_parse) {
        malformed(&client);
    }
    // Also after an error: it may have been answered, and the answer has to arrive.
    let parts = http.into_parts();
    let (stream, held) = parts.io.into_inner().into_switched();
    if let Err(error) = finish(stream, parts.read_buf, held, &upgrade, idle).await {
        tracing::debug!(%error, "end of an HTTP/1 connection");
    }
    result
}

/// The limits of a client outside the mesh. Others are bounded by their node proxy.
fn bounded(session: &Session) -> Option<Arc<Limits>> {
    let outside = session.destination.arrival().is_some();
    outside.then(|| Arc::clone(&session.core.world.limits))
}

/// Accounts for a head that never became a request. The HTTP library has answered it.
fn malformed(client: &Client) {
    let reason = DenyReason::MalformedRequest;
    series::refused(reason.as_str());
    tracing::info!(
        target: "access",
        reporter = "waypoint",
        src.addr = %client.address,
        src.identity = %client.id(),
        %reason,
        "request refused"
    );
}

/// Ends the stream, or goes on with it in another protocol.
async fn finish<S>(
    stream: S,
    early: bytes::Bytes,
    held: Vec<u8>,
    upgrade: &UpgradeSlot,
    idle: Duration,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match upgrade.take() {
        Some((upgrade, record)) => upgrade.run(stream, early, held, record, idle).await,
        None => linger(stream).await,
    }
}

/// Ends the stream in order, and reads on for a moment: a stream that is dropped with bytes unread is reset, and the
/// client could lose the answer that tells it why.
async fn linger<S>(mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    let mut left = LINGER_BYTES;
    let drain = async {
        while left > 0 {
            let mut rest = [0; 4096];
            match stream.read(&mut rest).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    };
    tokio::time::timeout(LINGER, drain).await.unwrap_or(Ok(()))
}

/// Serves HTTP/2.
pub async fn http2<S>(session: Rc<Session>, stream: S) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let header_bytes = session.core.world.limits.header_bytes;
    let drain = session.drain.clone();
    let bounded = bounded(&session);
    let activity = Rc::<Activity>::default();
    let connection = Connection {
        session,
        switch: None,
        upgrade: Rc::default(),
        activity: Rc::clone(&activity),
    };
    let service = service_fn(move |request| {
        let served = connection.clone().serve(request);
        async move { Ok::<_, Infallible>(served.await) }
    });
    let mut http = pin!(
        http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut draining = pin!(drain.signaled());
    let mut rested = pin!(activity.rested(bounded.as_deref()));
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut http => return ended,
            () = &mut rested => break,
            () = &mut draining, if !told => {
                told = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
    // Nothing is open. Whoever still speaks HTTP/2 hears why; nobody is waited for who does not.
    http.as_mut().graceful_shutdown();
    tokio::time::timeout(GOODBYE, http).await.unwrap_or(Ok(()))
}
