//! Connections that are carried as they are: TCP, TLS, whatever is no HTTP.
//!
//! Invariant: as for HTTP, nothing is sent to an endpoint without a permit, and the connection ends when it is revoked.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use culvert_hbone::{Incoming, ResponseHeaders, TunnelStream};
use culvert_policy::DenyReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_boring::SslStream;

use super::prefixed::Prefixed;
use super::sniff::Protocol;
use crate::http::{direct_backend, is_endpoints, key_of_connection, service, weighted};
use crate::permit::{Denied, InForce, Permit, check_destination};
use crate::relay::{Carried, relay};
use crate::routes::StreamPlan;
use crate::telemetry::series::Key;
use crate::upstream::connect::{Spoken, UpstreamIo};
use crate::upstream::endpoint::{Endpoint, InFlight};
use crate::upstream::endpoints::Wanted;
use crate::upstream::limit::Slot;
use crate::upstream::member::Sample;
use crate::upstream::pool::Connections;
use crate::world::Session;

/// Endpoints that are tried until one connects.
const TRIES: usize = 3;

/// A connected endpoint.
struct Connected {
    io: UpstreamIo,
    permit: Permit,
    _in_flight: InFlight,
    _slot: Slot,
}

/// Serves a stream whose service speaks no HTTP: the endpoint is connected before the stream is accepted, so that the
/// client learns of a failure.
pub(super) async fn serve(
    session: Rc<Session>,
    incoming: Incoming,
    route: Option<Arc<StreamPlan>>,
) {
    let connected = match connect(&session, route.as_deref(), Spoken::Bytes).await {
        Ok(connected) => connected,
        Err(denied) => return super::refuse(incoming, denied.reason, denied.policy.as_deref()),
    };
    match incoming.accept(&ResponseHeaders::default()) {
        Ok(stream) => copy(&session, stream, connected).await,
        Err(error) => tracing::debug!(%error, "the client left before its stream was accepted"),
    }
}

/// Serves a stream that was accepted to see what it speaks, by this route, or straight to what the client addressed.
pub(crate) async fn carry<S>(
    session: Rc<Session>,
    mut stream: S,
    protocol: Protocol,
    route: Option<Arc<StreamPlan>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Reset,
{
    // TLS of the client's own is not wrapped once more: it ends at the application, which proves itself to the client.
    let spoken = match protocol {
        Protocol::Tls => Spoken::Tls,
        Protocol::Http1 | Protocol::Http2 | Protocol::Tcp => Spoken::Bytes,
    };
    match connect(&session, route.as_deref(), spoken).await {
        Ok(connected) => copy(&session, stream, connected).await,
        Err(denied) => {
            refused(&session, protocol, &denied);
            stream.reset();
        }
    }
}

/// Accounts for a stream that was accepted and is refused.
pub(super) fn refused(session: &Session, protocol: Protocol, denied: &Denied) {
    crate::telemetry::series::refused(denied.reason.as_str());
    tracing::info!(
        target: "access",
        reporter = "waypoint",
        src.addr = %session.client.address,
        src.identity = %session.client.id(),
        dst.service = %session.destination.key(),
        ?protocol,
        reason = %denied.reason,
        "connection refused"
    );
}

/// Picks a backend of the route, then endpoints of it until one connects.
async fn connect(
    session: &Session,
    route: Option<&StreamPlan>,
    spoken: Spoken,
) -> Result<Connected, Denied> {
    let chosen = route.map(|route| weighted(&route.backends())).transpose();
    let chosen = chosen.map_err(|reason| unresolved(&reason))?;
    let mut tried: Vec<Rc<Endpoint>> = Vec::new();
    loop {
        let world = &session.core.world;
        let (snapshot, routes) = (world.store.snapshot(), world.routes.load_full());
        let rules = InForce {
            snapshot: &snapshot,
            routes: &routes,
        };
        check_destination(rules, &session.client, &session.destination)?;
        let backend = match chosen {
            Some(plan) => {
                service(session, &snapshot, plan).map_err(|reason| unresolved(&reason))?
            }
            None => direct_backend(session, &snapshot, &session.config(&routes).direct),
        };
        let wanted = Wanted {
            key: key_of_connection(&backend.settings.balancer, &session.client),
            ..backend.settings.wanted()
        };
        let picked = backend.endpoints.pick(&wanted, &tried, &mut rand::rng());
        let endpoint = picked.ok_or(DenyReason::NoEndpoint)?;
        let permit = session.grant(endpoint)?;
        let in_flight = endpoint.enter();
        let limit = backend.settings.connections.as_ref();
        let slot = Connections::place(endpoint, limit).ok_or(DenyReason::Overload)?;
        match session.core.dialer.connect(endpoint, spoken).await {
            Ok((io, _)) => {
                in_flight.observe(Sample::Good);
                return Ok(Connected {
                    io,
                    permit,
                    _in_flight: in_flight,
                    _slot: slot,
                });
            }
            Err(reason) => {
                if is_endpoints(reason) {
                    in_flight.observe(Sample::GatewayError);
                }
                if tried.len() + 1 >= TRIES {
                    return Err(reason.into());
                }
                tried.push(Rc::clone(endpoint));
            }
        }
    }
}

fn unresolved(reason: &str) -> DenyReason {
    tracing::debug!(reason, "a connection's route has no backend");
    DenyReason::BackendUnresolved
}

/// What can be ended without an orderly close.
pub(crate) trait Reset {
    /// Makes the coming drop one.
    fn reset(&mut self);
}

impl Reset for TunnelStream {
    fn reset(&mut self) {
        Self::reset(self);
    }
}

impl Reset for TcpStream {
    fn reset(&mut self) {
        if let Err(error) = culvert_runtime::net::set_reset_on_close(self) {
            tracing::debug!(%error, "client's connection is closed already");
        }
    }
}

impl<S: Reset> Reset for Prefixed<S> {
    fn reset(&mut self) {
        self.get_mut().reset();
    }
}

impl<S: Reset> Reset for SslStream<S> {
    fn reset(&mut self) {
        self.get_mut().reset();
    }
}

async fn copy<S>(session: &Session, mut client: S, connected: Connected)
where
    S: AsyncRead + AsyncWrite + Unpin + Reset,
{
    let Connected {
        mut io,
        permit,
        _in_flight,
        _slot,
    } = connected;
    let endpoint = Rc::clone(permit.endpoint());
    let account = Account::open(session, &endpoint);
    let idle = session.stream_idle();
    let result = tokio::select! {
        biased;
        () = permit.revoked() => Err(io::ErrorKind::PermissionDenied.into()),
        (carried, result) = relay(&mut client, &mut io, idle) => {
            account.carried.replace(carried);
            result
        }
    };
    if let Err(error) = result {
        account.error.replace(Some(error));
        client.reset();
        io.reset();
    }
}

/// The account of one connection, closed exactly once, however it ends.
struct Account<'a> {
    session: &'a Session,
    endpoint: Arc<str>,
    key: Key,
    start: std::time::Instant,
    carried: RefCell<Carried>,
    error: RefCell<Option<io::Error>>,
}

impl<'a> Account<'a> {
    fn open(session: &'a Session, endpoint: &Endpoint) -> Self {
        let key = Key {
            source: session.client.source,
            destination: endpoint.labels(),
            protocol: "tcp",
            status: 0,
            grpc: None,
            flags: "-",
        };
        session.core.series.tcp_opened(key);
        Self {
            session,
            endpoint: Arc::clone(endpoint.uid()),
            key,
            start: std::time::Instant::now(),
            carried: RefCell::default(),
            error: RefCell::default(),
        }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        let carried = *self.carried.borrow();
        self.session
            .core
            .series
            .tcp_closed(self.key, carried.a_to_b, carried.b_to_a);
        let error = self.error.borrow();
        tracing::info!(
            target: "access",
            reporter = "waypoint",
            src.addr = %self.session.client.address,
            src.identity = %self.session.client.id(),
            dst.service = %self.session.destination.key(),
            dst.workload = %self.endpoint,
            bytes_sent = carried.b_to_a,
            bytes_recv = carried.a_to_b,
            duration = ?self.start.elapsed(),
            error = error.as_ref().map(tracing::field::display),
            "connection complete"
        );
    }
}
