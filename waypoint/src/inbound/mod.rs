//! What reaches the waypoint: HBONE connections, and in each of their streams one client's connection to one
//! destination.
//!
//! `identify -> resolve -> (look) -> serve`
//!
//! Invariant: who the client is comes from mutual TLS alone. A stream whose destination is not ours is refused before
//! anything of it is read.

pub(crate) mod prefixed;
pub mod sniff;
pub(crate) mod tcp;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use culvert_hbone::{Incoming, ResponseHeaders, TunnelStream};
use culvert_policy::DenyReason;
use culvert_runtime::task;
use culvert_xds::state::AppProtocol;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::Client;
use crate::destination::Destination;
use crate::gateway::hello;
use crate::http::server;
use crate::routes::StreamPlan;
use crate::telemetry::series;
use crate::world::{Core, Session};

use prefixed::Prefixed;
use sniff::{HANDSHAKE, Meant, Protocol, sniff};
use tcp::Reset as _;

/// Serves one connection of a node proxy until its end.
pub async fn serve(core: Rc<Core>, tcp: TcpStream) {
    let Ok(local) = tcp.local_addr() else { return };
    let Some(identity) = core.world.certificate.current() else {
        tracing::warn!(reason = %DenyReason::CertificateUnavailable, "HBONE connection refused");
        return;
    };
    let world = Arc::clone(&core.world);
    let drain = core.drain.clone();
    let on = move |incoming: Incoming| {
        let core = Rc::clone(&core);
        task::spawn_local("stream", stream(core, incoming, local.ip()));
    };
    let served =
        culvert_hbone::server::serve(tcp, &identity.server, &world.tunnels, &drain, on).await;
    if let Err(error) = served {
        series::refused(error.deny_reason().as_str());
        tracing::debug!(%error, reason = %error.deny_reason(), "HBONE connection");
    }
}

/// Serves one stream.
async fn stream(core: Rc<Core>, incoming: Incoming, local: IpAddr) {
    let session = match identify_and_resolve(&core, &incoming, local) {
        Ok(session) => Rc::new(session),
        Err(reason) => return refuse(incoming, reason, None),
    };
    let (by_tls, route, secured) = {
        let routes = core.world.routes.load();
        let config = session.config(&routes);
        let http = config.table(session.client.namespace()).is_some();
        // HTTP's own routes come first: they say more.
        let route = config.streams.tcp().filter(|_| !http).cloned();
        let secured = session.backend_tls(&routes).is_some();
        (config.streams.has_tls(), route, secured)
    };
    match session.destination.app_protocol() {
        AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc if route.is_none() => {
            with_stream(incoming, |stream| look(session, stream, true)).await;
        }
        AppProtocol::Unknown if route.is_none() => {
            with_stream(incoming, |stream| look(session, stream, false)).await;
        }
        // Whether it is the client or the waypoint who begins TLS is for the first bytes to say.
        AppProtocol::Tls if route.is_none() && secured => {
            with_stream(incoming, |stream| look(session, stream, false)).await;
        }
        _ if by_tls => with_stream(incoming, |stream| by_server_name(session, stream, route)).await,
        _ => tcp::serve(session, incoming, route).await,
    }
}

fn identify_and_resolve(
    core: &Rc<Core>,
    incoming: &Incoming,
    local: IpAddr,
) -> Result<Session, DenyReason> {
    let baggage = incoming.headers.baggage.as_ref();
    let client = Client::new(
        &incoming.peer,
        incoming.peer_addr.ip(),
        baggage,
        &core.series,
    )
    .map_err(|_| DenyReason::IdentityMalformed)?;
    let snapshot = core.world.store.snapshot();
    let from = (client.namespace().unwrap_or_default(), local);
    let own = &core.world.own;
    let destination = Destination::resolve(&snapshot, own, from, &incoming.authority)?;
    Ok(Session::new(core, client, destination, core.drain.clone()))
}

/// Refuses a stream. The client learns the reason, and no policy's name.
fn refuse(incoming: Incoming, reason: DenyReason, policy: Option<&str>) {
    series::refused(reason.as_str());
    tracing::info!(
        target: "access",
        reporter = "waypoint",
        src.addr = %incoming.peer_addr,
        src.identity = %incoming.peer,
        dst.authority = %incoming.authority,
        %reason,
        policy = policy.unwrap_or("-"),
        "connection refused"
    );
    incoming.refuse(reason.http_status(), reason, None);
}

/// Accepts a stream and serves it.
async fn with_stream<F: Future<Output = ()>>(
    incoming: Incoming,
    serve: impl FnOnce(TunnelStream) -> F,
) {
    match incoming.accept(&ResponseHeaders::default()) {
        Ok(stream) => serve(stream).await,
        Err(error) => tracing::debug!(%error, "the client left before its stream was accepted"),
    }
}

/// Looks at the first bytes to tell what is spoken. Where the service says HTTP, only which HTTP is open: anything else
/// is served as HTTP/1 and answered 400.
async fn look(session: Rc<Session>, mut stream: TunnelStream, only_http: bool) {
    let (by_tls, meant) = {
        let routes = session.core.world.routes.load();
        let config = session.config(&routes);
        let http = only_http || config.table(session.client.namespace()).is_some();
        let by_tls = config.streams.has_tls() && !only_http;
        let meant = match (http, by_tls) {
            (true, _) => Meant::Http,
            (false, true) => Meant::Tls,
            (false, false) => Meant::Anything,
        };
        (by_tls, meant)
    };
    let (protocol, first) = match sniff(&mut stream, meant).await {
        Ok(seen) => seen,
        Err(error) => {
            return tracing::debug!(%error, "connection ended before its protocol was known");
        }
    };
    let stream = Prefixed::new(first, stream);
    match protocol {
        Protocol::Http2 => http2(session, stream).await,
        Protocol::Tls if by_tls => tls(session, stream).await,
        Protocol::Tls | Protocol::Tcp if !only_http => {
            tcp::carry(session, stream, protocol, None).await;
        }
        Protocol::Http1 | Protocol::Tls | Protocol::Tcp => http1(session, stream).await,
    }
}

/// Tells only TLS from everything else, which goes by `route`, or straight to the service.
async fn by_server_name(
    session: Rc<Session>,
    mut stream: TunnelStream,
    route: Option<Arc<StreamPlan>>,
) {
    let mut first = BytesMut::new();
    if let Err(error) = stream.read_buf(&mut first).await {
        return tracing::debug!(%error, "connection ended before its protocol was known");
    }
    let handshake = first.first() == Some(&HANDSHAKE);
    let stream = Prefixed::new(first.freeze(), stream);
    if handshake {
        tls(session, stream).await;
    } else {
        tcp::carry(session, stream, Protocol::Tcp, route).await;
    }
}

/// Serves a connection that begins with TLS where TLSRoutes are attached: by server name, or not at all.
async fn tls(session: Rc<Session>, mut stream: Prefixed<TunnelStream>) {
    let world = Arc::clone(&session.core.world);
    let deadline = Instant::now() + world.limits.handshake;
    let routed = hello::by(&mut stream, deadline).await.and_then(|hello| {
        let routes = world.routes.load();
        let streams = &session.config(&routes).streams;
        let route = streams.tls(&hello.server_name).cloned();
        Ok((hello.bytes, route.ok_or(DenyReason::RouteNotFound)?))
    });
    match routed {
        Ok((first, route)) => {
            let stream = Prefixed::new(first, stream);
            tcp::carry(session, stream, Protocol::Tls, Some(route)).await;
        }
        Err(reason) => {
            tcp::refused(&session, Protocol::Tls, &reason.into());
            stream.reset();
        }
    }
}

async fn http1<S>(session: Rc<Session>, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    if let Err(error) = server::http1(session, stream).await {
        tracing::debug!(%error, "HTTP/1 connection");
    }
}

async fn http2<S>(session: Rc<Session>, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    if let Err(error) = server::http2(session, stream).await {
        tracing::debug!(%error, "HTTP/2 connection");
    }
}
