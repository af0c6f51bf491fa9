//! The server's end of tunnels.
//!
//! Invariants: nothing of a client is looked at before it proved its identity; what isn't a CONNECT with a canonical
//! authority is answered 400 here and reaches nobody; a drain refuses nothing that was promised.

mod driver;
mod incoming;

pub use incoming::Incoming;

use crate::config::TunnelConfig;
use crate::driver::Driver;
use crate::engine::{Connection, Role};
use crate::error::ServerError;
use crate::socket::{self, BufferedSocket};
use culvert_identity::{ServerContext, SpiffeId, TlsError};
use culvert_runtime::drain::Drain;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Whom a connection is from.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it proved to be.
    pub id: SpiffeId,
    /// Its address.
    pub addr: SocketAddr,
}

/// Serves one connection, from TLS to its end. `on` is given each CONNECT; it must not block, and hands the work to a
/// task. Ends in order when the client leaves, or after a drain when the last stream has ended.
pub async fn serve(
    tcp: TcpStream,
    context: &ServerContext,
    config: &TunnelConfig,
    drain: &Drain,
    on: impl FnMut(Incoming),
) -> Result<(), ServerError> {
    let addr = tcp
        .peer_addr()
        .map_err(|error| ServerError::Tls(TlsError::Handshake(error.to_string())))?;
    let addr = culvert_runtime::net::canonical(addr);
    socket::prepare(&tcp);
    let deadline = Instant::now() + config.handshake;
    // Boxed, so that a connection does not carry the room for its handshake along.
    let tls = Box::pin(timeout_at(
        deadline,
        context.accept(BufferedSocket::new(tcp)),
    ));
    let (tls, id) = tls.await.map_err(|_| TlsError::Timeout)??;
    let way = tls.get_ref().round_trip();
    let connection = Connection::new(&config.setup(Role::Server, way));
    let core = Driver::new(tls, connection, config);
    let peer = Peer { id, addr };
    driver::Serving::new(core, peer, deadline, config, drain)
        .run(on)
        .await
}

/// The HTTP/2 part of [`serve`] on bytes that are not encrypted, for tests and fuzzing. `peer` is taken as proved.
pub async fn serve_plain<S>(
    io: S,
    peer: Peer,
    config: &TunnelConfig,
    drain: &Drain,
    on: impl FnMut(Incoming),
) -> Result<(), ServerError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = Instant::now() + config.handshake;
    let connection = Connection::new(&config.setup(Role::Server, None));
    let core = Driver::new(BufferedSocket::new(io), connection, config);
    driver::Serving::new(core, peer, deadline, config, drain)
        .run(on)
        .await
}
