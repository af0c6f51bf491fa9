//! `copy`: the last step of every connection.

use std::time::Duration;

use culvert_hbone::TunnelStream;
use culvert_runtime::copy;
use tokio::net::TcpStream;

use super::connections::{Client, Connection, Stop};

/// The other side of a connection.
#[derive(Debug)]
pub(super) enum Far {
    Tcp(TcpStream),
    Tunnel(TunnelStream),
}

/// Move bytes between `near` and `far` until both have ended, or the connection must end. `client` says which of the
/// two is the client.
pub(super) async fn copy(
    mut connection: Connection,
    stop: Stop,
    near: TcpStream,
    far: Far,
    client: Client,
    idle: Duration,
) {
    connection.established(client);
    let progress = connection.progress();
    let outcome = match far {
        Far::Tcp(far) => copy::watched(near, far, Some(idle), &progress, stop.error()).await,
        Far::Tunnel(far) => {
            culvert_hbone::copy::watched(near, far, Some(idle), &progress, stop.error()).await
        }
    };
    connection.closed(&outcome);
}
