//! What reaches the waypoint: HBONE connections, and in each of their streams one client's connection to one
//! destination.
//!
//! `identify -> resolve -> (look) -> serve`
//!
//! Invariant: who the client is comes from mutual TLS alone. A stream whose destination is not ours is refused before
//! anything of it is read.

mod prefixed;
pub mod sniff;
mod tcp;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use culvert_hbone::{Incoming, ResponseHeaders, TunnelStream};
use culvert_policy::DenyReason;
use culvert_runtime::task;
use culvert_xds::state::AppProtocol;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::destination::Destination;
use crate::http::server;
use crate::telemetry::series;
use crate::world::{Core, Session};

use prefixed::Prefixed;
use sniff::{Protocol, sniff};

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
    match session.destination.app_protocol() {
        AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc => {
            with_stream(incoming, |stream| look(session, stream, true)).await;
        }
        AppProtocol::Tcp | AppProtocol::Tls => tcp::serve(session, incoming).await,
        AppProtocol::Unknown => with_stream(incoming, |stream| look(session, stream, false)).await,
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
    let destination = Destination::resolve(&snapshot, &core.world.own, local, &incoming.authority)?;
    Ok(Session::new(core, client, destination))
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
    let routed = only_http
        || session
            .config(&session.core.world.routes.load())
            .table(session.client.id.namespace())
            .is_some();
    let (protocol, first) = match sniff(&mut stream, routed).await {
        Ok(seen) => seen,
        Err(error) => {
            return tracing::debug!(%error, "connection ended before its protocol was known");
        }
    };
    let stream = Prefixed::new(first, stream);
    match protocol {
        Protocol::Http2 => http2(session, stream).await,
        Protocol::Tls | Protocol::Tcp if !only_http => tcp::carry(session, stream, protocol).await,
        Protocol::Http1 | Protocol::Tls | Protocol::Tcp => http1(session, stream).await,
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
