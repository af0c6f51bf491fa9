//! `copy`: the last step of every connection.

use std::io;
use std::sync::Arc;

use culvert_hbone::TunnelStream;
use culvert_runtime::copy::{self, Outcome, Progress};
use futures_util::FutureExt as _;
use futures_util::future::{Either, OptionFuture, select};
use tokio::net::TcpStream;

use super::connections::{Client, Connection, Stop};
use super::faulted::{self, Faulted};
use super::inbound::connect::App;
use super::load::Loaded;

/// The other side of a connection.
#[derive(Debug)]
pub(super) enum Far {
    Tcp(TcpStream),
    Tunnel(TunnelStream),
    Within(Box<Within>),
}

/// The far side within this node, with its own pod's account of the connection.
#[derive(Debug)]
pub(super) struct Within {
    pub(super) inbound: Connection,
    pub(super) app: App,
    pub(super) stop: Stop,
}

/// What bytes are copied between.
#[derive(Debug)]
pub(super) enum Sides {
    /// The near side and the far side.
    Plain(TcpStream, Far),
    /// The client, and an application behind a fault: a copy of its own, which is slower.
    Faulted(Caller, Box<Faulted>),
}

/// The client of a connection that a fault struck.
#[derive(Debug)]
pub(super) enum Caller {
    Tcp(TcpStream),
    Tunnel(TunnelStream),
}

/// A connection whose two sides are connected.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) stop: Stop,
    pub(super) sides: Sides,
    /// Which of the two is the client.
    pub(super) client: Client,
    /// Counts the connection at its workload, until its end.
    pub(super) loaded: Option<Loaded>,
}

/// Once `opening` has come to a connection, move its bytes until both sides have ended, or the connection must end.
// No async function: that would hold the room for opening, which is boxed for this reason, and for each argument a second
// time, for as long as the connection lasts.
pub(super) fn after(opening: impl Future<Output = Option<Opened>>) -> impl Future<Output = ()> {
    Box::pin(opening)
        .then(|opened| OptionFuture::from(opened.map(copy)))
        .map(drop)
}

fn copy(opened: Opened) -> impl Future<Output = ()> {
    let Opened {
        mut connection,
        stop,
        sides,
        client,
        loaded,
    } = opened;
    connection.established(client);
    let (progress, stop) = (connection.progress(), stop.error());
    // Who is idle for too long is told by the table, as is who is revoked.
    let copying = match sides {
        Sides::Plain(near, Far::Tunnel(far)) => Either::Right(culvert_hbone::copy::watched(
            near, far, None, progress, stop,
        )),
        // Boxed, since they are larger and most connections go by tunnels.
        Sides::Plain(near, Far::Tcp(far)) => {
            Either::Left(copy::watched(near, far, None, progress, stop).boxed_local())
        }
        Sides::Plain(near, Far::Within(far)) => {
            Either::Left(within(near, *far, progress, stop).boxed_local())
        }
        Sides::Faulted(Caller::Tcp(client), app) => {
            Either::Left(faulted::watched(client, *app, progress, stop).boxed_local())
        }
        Sides::Faulted(Caller::Tunnel(client), app) => {
            Either::Left(faulted::watched(client, *app, progress, stop).boxed_local())
        }
    };
    copying.map(|outcome| {
        connection.closed(&outcome);
        drop(loaded);
    })
}

/// The copy that both ends' accounts tell of, until either must end.
async fn within(
    near: TcpStream,
    far: Within,
    progress: Arc<Progress>,
    stop: impl Future<Output = io::Error> + Unpin,
) -> Outcome {
    let Within {
        mut inbound,
        app,
        stop: revoked,
    } = far;
    inbound.established(Client::Near);
    let stop = select(stop, revoked.error())
        .map(|(Either::Left((error, _)) | Either::Right((error, _)))| error);
    let outcome = match app {
        App::Plain(app) => copy::watched(near, app, None, progress, stop).await,
        App::Faulted(app) => faulted::watched(near, *app, progress, stop).await,
    };
    inbound.closed(&outcome);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        let bytes = size_of_val(&after(std::future::ready(None)));
        assert!(bytes <= 416, "{bytes} bytes for each connection");
    }
}
