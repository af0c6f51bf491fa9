//! What speaks to agents, ztunnels and waypoints: configuration, certificates, reports; all over TLS, all by token.

mod ads;
mod auth;
mod ca;
mod node;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_identity::ca::Root;
use culvert_identity::server_tls::{Acceptor, incoming};
use culvert_proto::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use culvert_proto::node::node_service_server::NodeServiceServer;
use culvert_runtime::drain::Drain;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;

#[cfg(test)]
pub(crate) use ads::view_names;
pub use auth::{AUDIENCE, Authenticator, Reviewer};

use crate::engine::{Event, Snapshot};

/// A client that does not answer this is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Streams of one connection. A component has a handful.
const STREAMS: u32 = 64;
const WINDOW: u32 = 1 << 20;

/// What every service needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who may speak.
    pub authenticator: Arc<Authenticator>,
    /// What is served.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Who is told of it.
    pub events: mpsc::Sender<Event>,
    /// Who writes down what agents say of their pods, where there is a Kubernetes.
    pub captures: Option<crate::status::kube::Captures>,
    /// Who makes sure that what is served is not older than what a client has from elsewhere, if it may be.
    pub catch_up: Option<crate::source::kube::CatchUp>,
    /// Who signs.
    pub root: watch::Receiver<Arc<Root>>,
    /// When to end.
    pub drain: Drain,
}

/// Serve one listener until the drain has started and its streams have ended.
pub async fn run(listener: TcpListener, acceptor: Arc<Acceptor>, context: Context) {
    let address: Option<SocketAddr> = listener.local_addr().ok();
    let drain = context.drain.clone();
    let connections = incoming(listener, acceptor, drain.clone());
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .add_service(ads::Service::new(context.clone()))
        .add_service(IstioCertificateServiceServer::new(ca::Service::new(
            context.clone(),
        )))
        .add_service(NodeServiceServer::new(node::Service::new(context)))
        .serve_with_incoming_shutdown(connections, async move { drain.signaled().await });
    if let Err(error) = server.await {
        tracing::error!(?address, %error, "serving");
    }
}

#[cfg(test)]
mod tests;
