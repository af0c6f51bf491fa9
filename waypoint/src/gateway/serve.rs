//! One client's connection to a listener's port, from its acceptance to its end.
//!
//! Invariant: each step takes what the one before has made. What is served was admitted; what is decrypted was for a
//! listener that the server name selects.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use culvert_policy::DenyReason;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::admit::{Admitted, counted};
use super::handshakes::Handshake;
use super::hello::{self, Hello};
use super::ports::OpenPort;
use super::tls::{self, Alert};
use crate::config::certificate::Certificate;
use crate::config::gateway::{Protocol, Transport};
use crate::http::server;
use crate::inbound::prefixed::Prefixed;
use crate::inbound::sniff::{self, Meant, sniff};
use crate::inbound::tcp;
use crate::routes::{ListenerPlan, StreamPlan};
use crate::telemetry::series;
use crate::world::Core;

/// Serves one connection until its end.
pub(crate) async fn serve(core: Rc<Core>, tcp: TcpStream, port: &OpenPort) {
    let Some(admitted) = Admitted::new(core, tcp, port) else {
        return;
    };
    match port.spoken.transport {
        Transport::Http => http(admitted).await,
        Transport::Tls => tls(admitted).await,
        Transport::Tcp => bytes(admitted).await,
    }
}

/// HTTP in plain text, of either version.
async fn http(mut admitted: Admitted<'_>) {
    let silence = admitted.core.world.limits.client_silence;
    let (protocol, first) = match timeout(silence, sniff(&mut admitted.tcp, Meant::Http)).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => return tracing::debug!(%error, "client gone before its first request"),
        Err(_) => return admitted.refuse(DenyReason::HandshakeTimeout),
    };
    if first.is_empty() {
        return tracing::debug!("client gone before its first request");
    }
    let (session, tcp) = admitted.start();
    let stream = Prefixed::new(first, tcp);
    match protocol {
        sniff::Protocol::Http2 => served(server::http2(session, stream).await),
        // What is no HTTP is answered 400.
        _ => served(server::http1(session, stream).await),
    }
}

/// TLS: the server name chooses the listener, the listener what becomes of it.
async fn tls(mut admitted: Admitted<'_>) {
    let most = admitted.core.world.limits.client_handshakes;
    let Some(handshake) = admitted.core.handshakes.begin(most) else {
        return admitted.refuse(DenyReason::Overload);
    };
    let hello = hello::by(&mut admitted.tcp, admitted.deadline).await;
    let Hello { server_name, bytes } = match hello {
        Ok(hello) => hello,
        Err(reason) => return admitted.refuse(reason),
    };
    tracing::debug!(%server_name, client = %admitted.client, "ClientHello");
    let Some(listener) = admitted.listener(&server_name) else {
        return admitted.unrecognized().await;
    };
    let certificates = match &listener.certificates {
        Ok(certificates) => certificates,
        Err(reason) => {
            tracing::debug!(listener = %listener.config.name, %reason, "listener cannot be served");
            let reason = DenyReason::BackendUnresolved;
            return admitted.alert(Alert::HandshakeFailure, reason).await;
        }
    };
    let certificate = Certificate::choose(certificates, Some(&server_name)).cloned();
    match (&listener.config.protocol, certificate) {
        (Protocol::Https(_), Some(certificate)) => {
            https(admitted, bytes, (&certificate, handshake), &listener).await;
        }
        (Protocol::Terminate(_), Some(certificate)) => {
            let streams = &listener.streams;
            match streams.tls(&server_name).or(streams.tcp()).cloned() {
                Some(route) => {
                    let with = (&*certificate, handshake);
                    terminate(admitted, bytes, with, &listener, route).await;
                }
                None => admitted.refuse(DenyReason::RouteNotFound),
            }
        }
        (Protocol::Passthrough, _) => match listener.streams.tls(&server_name).cloned() {
            Some(route) => {
                drop(handshake);
                let (session, tcp) = admitted.start();
                let stream = Prefixed::new(bytes, tcp);
                tcp::carry(session, stream, sniff::Protocol::Tls, Some(route)).await;
            }
            None => admitted.refuse(DenyReason::RouteNotFound),
        },
        // Without a certificate, or the port speaks something else by now.
        _ => {
            let reason = DenyReason::BackendUnresolved;
            admitted.alert(Alert::HandshakeFailure, reason).await;
        }
    }
}

async fn https(
    admitted: Admitted<'_>,
    first: Bytes,
    (certificate, handshake): (&Certificate, Handshake),
    listener: &ListenerPlan,
) {
    let (deadline, client, port) = (admitted.deadline, admitted.client, admitted.port);
    let (session, tcp) = admitted.start_tls(listener);
    let clients = listener.config.clients.as_deref();
    let accepted = tls::accept(certificate.https(), clients, Prefixed::new(first, tcp));
    let stream = match timeout_at(deadline, accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return failed(client, port, &error),
        Err(_) => return counted(client, port, DenyReason::HandshakeTimeout.into()),
    };
    drop(handshake);
    if let (Some(clients), Some(arrival)) = (clients, session.destination.arrival())
        && let Some(shown) = clients.shown(stream.ssl())
    {
        // Once for each connection, and before its first request.
        let _ = arrival.certificate.set(shown);
    }
    if stream.ssl().selected_alpn_protocol() == Some(b"h2") {
        served(server::http2(session, stream).await);
    } else {
        served(server::http1(session, stream).await);
    }
}

async fn terminate(
    admitted: Admitted<'_>,
    first: Bytes,
    (certificate, handshake): (&Certificate, Handshake),
    listener: &ListenerPlan,
    route: Arc<StreamPlan>,
) {
    let (deadline, client, port) = (admitted.deadline, admitted.client, admitted.port);
    let (session, tcp) = admitted.start();
    let clients = listener.config.clients.as_deref();
    let accepted = tls::accept(certificate.plain(), clients, Prefixed::new(first, tcp));
    let accepted = timeout_at(deadline, accepted).await;
    drop(handshake);
    match accepted {
        Ok(Ok(stream)) => tcp::carry(session, stream, sniff::Protocol::Tcp, Some(route)).await,
        Ok(Err(error)) => failed(client, port, &error),
        Err(_) => counted(client, port, DenyReason::HandshakeTimeout.into()),
    }
}

/// Bytes, to the backend of the one route.
async fn bytes(admitted: Admitted<'_>) {
    let Some(listener) = admitted.listener("") else {
        return admitted.refuse(DenyReason::RouteNotFound);
    };
    if listener.unresolved().is_some() {
        return admitted.refuse(DenyReason::BackendUnresolved);
    }
    match (&listener.config.protocol, listener.streams.tcp().cloned()) {
        (Protocol::Tcp, Some(route)) => {
            let (session, tcp) = admitted.start();
            tcp::carry(session, tcp, sniff::Protocol::Tcp, Some(route)).await;
        }
        _ => admitted.refuse(DenyReason::RouteNotFound),
    }
}

fn served(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "HTTP connection of a client");
    }
}

/// A handshake that failed. Scanners do that all day: no line for each.
fn failed(client: SocketAddr, port: &OpenPort, error: &tls::HandshakeFailed) {
    let reason = DenyReason::TlsHandshake;
    series::refused(reason.as_str());
    tracing::debug!(%client, port = port.port, %reason, %error, "connection refused");
}
