//! `connect`: dial what was routed to, and the next endpoint where the first cannot be reached.
//!
//! Invariants: a connection is tried again only before a peer has taken it, at most at every hop of its route once, and
//! within one deadline, with what the application had said by then; a refusal (by policy, or a peer that is somebody
//! else) is final; nothing that was routed over HBONE is ever dialled in plain text.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use bytes::Bytes;
use culvert_hbone::{ClientError, ConnectError, ConnectRequest, PoolKey};
use culvert_policy::DenyReason;
use culvert_runtime::scratch;
use culvert_xds::state::Workload;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::headers;
use super::leave::leave;
use super::named;
use super::route::{Hop, Route, Target, Way};
use super::within;
use crate::proxy::Context;
use crate::proxy::connections::Connection;
use crate::proxy::copy::Far;
use crate::proxy::cores;
use crate::proxy::denial::Denial;
use crate::proxy::load::Loaded;
use crate::telemetry::Party;

/// Bytes that may go along with a CONNECT. They are kept until it is answered.
const AHEAD: usize = 16 * 1024;

/// The connected far side.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) far: Far,
    /// Counts the connection at its workload, until its end.
    pub(super) loaded: Option<Loaded>,
}

/// Why one hop could not be reached.
pub(super) struct Missed {
    denial: Denial,
    /// Another endpoint may do better.
    again: bool,
}

/// Connect to where `route` leads.
pub(super) async fn connect(
    cx: &Context,
    connection: &Connection,
    source: &Workload,
    route: Route,
    app: &mut TcpStream,
) -> Result<Upstream, Denial> {
    match route {
        Route::Refuse(reason) => Err(reason.into()),
        Route::DoubleHbone => Err(DenyReason::CrossNetwork.into()),
        Route::Passthrough(addr) => {
            let said = leave(cx, connection, addr, app).await?;
            let far = outside(cx, connection, addr, &said).await?;
            Ok(Upstream { far, loaded: None })
        }
        Route::Direct(target) | Route::Waypoint(target) => {
            reach(cx, connection, source, target, app).await
        }
    }
}

/// One hop after the other.
async fn reach(
    cx: &Context,
    connection: &Connection,
    source: &Workload,
    target: Target,
    app: &TcpStream,
) -> Result<Upstream, Denial> {
    let ahead = if target.hops.iter().all(Hop::is_tunnelled) {
        said(app)?
    } else {
        Bytes::new()
    };
    let deadline = Instant::now() + cx.node.limits.connect_request;
    connection.facts().service.clone_from(&target.service);
    let mut last = Denial::from(DenyReason::NoEndpoint);
    for (tried, hop) in target.hops.iter().enumerate() {
        // A hop that does not answer leaves time for the others.
        let share = deadline.saturating_duration_since(Instant::now()) / hops_left(&target, tried);
        let loaded = cx.node.load.start(hop.workload.uid());
        describe(connection, hop);
        match timeout(share, try_hop(cx, connection, source, hop, &ahead)).await {
            Ok(Ok(far)) => {
                return Ok(Upstream {
                    far,
                    loaded: Some(loaded),
                });
            }
            Ok(Err(Missed {
                denial,
                again: false,
            })) => return Err(denial),
            Ok(Err(Missed { denial, .. })) => last = denial,
            Err(_elapsed) => last = DenyReason::ConnectTimeout.into(),
        }
    }
    Err(last)
}

fn hops_left(target: &Target, tried: usize) -> u32 {
    u32::try_from(target.hops.len() - tried).unwrap_or(u32::MAX)
}

fn describe(connection: &Connection, hop: &Hop) {
    let party = Party::of(&hop.workload);
    let (destination_addr, hbone_addr, destination) = match &hop.way {
        Way::Plaintext(addr) => (Some(*addr), None, party),
        // Which address it is, is found out later.
        Way::Named { .. } => (None, None, party),
        Way::Hbone {
            tunnel,
            authority,
            expected,
        } => (
            Some(*authority),
            hop.neighbour.is_none().then_some(*tunnel),
            party.with_identity(expected.first().cloned()),
        ),
    };
    let mut facts = connection.facts();
    facts.destination_addr = destination_addr.unwrap_or(facts.destination_addr);
    facts.hbone_addr = hbone_addr;
    facts.within = hop.neighbour.is_some();
    facts.destination = destination;
}

async fn try_hop(
    cx: &Context,
    connection: &Connection,
    source: &Workload,
    hop: &Hop,
    ahead: &Bytes,
) -> Result<Far, Missed> {
    match &hop.way {
        Way::Plaintext(addr) => plain(cx, *addr).await,
        Way::Named { name, port } => named::dial(cx, connection, &hop.workload, name, *port).await,
        Way::Hbone {
            authority,
            expected,
            ..
        } if let Some(next) = &hop.neighbour => {
            within::enter(cx, connection, next, *authority, expected).await
        }
        Way::Hbone {
            tunnel,
            authority,
            expected,
        } => {
            let identity = cx
                .pod
                .certificate
                .ready(cx.node.limits.certificate_wait)
                .await
                .map_err(Missed::finally)?;
            let key = PoolKey {
                source: cx.pod.tunnels().clone(),
                identity: identity.id.clone(),
                destination: hop.workload.uid().clone(),
                addr: *tunnel,
            };
            let request = ConnectRequest {
                authority: (*authority).into(),
                headers: headers::of(source, &connection.facts()),
                ahead: ahead.clone(),
            };
            let local = cores::local().ok_or_else(|| Missed::finally(DenyReason::Draining))?;
            let dial = async || cx.pod.dial(*tunnel, cx.node.limits.connect).await;
            let connected = local
                .pool
                .connect(&key, dial, &identity, expected, request)
                .await;
            let (stream, _response) = connected.map_err(|error| Missed::tunnel(&error))?;
            Ok(Far::Tunnel(stream))
        }
    }
}

/// What the application has said by now, to be sent along with the CONNECT: most clients speak first and do not wait.
fn said(app: &TcpStream) -> Result<Bytes, Denial> {
    scratch::with(|buffer| {
        let room = buffer.len().min(AHEAD);
        let room = buffer.get_mut(..room).unwrap_or_default();
        // Past the runtime, which has not looked at the socket yet.
        match recv(app.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Ok(n) => Ok(Bytes::copy_from_slice(room.get(..n).unwrap_or_default())),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Bytes::new()),
            // An error is told once: the copy would take the connection for one that has ended in order.
            Err(error) => Err(Denial::because(
                DenyReason::ConnectFailed,
                format_args!("the client: {error}"),
            )),
        }
    })
}

/// Dial what is outside of the mesh, and say what the client has said already.
async fn outside(
    cx: &Context,
    connection: &Connection,
    addr: SocketAddr,
    said: &Bytes,
) -> Result<Far, Denial> {
    let patience = cx.node.limits.connect;
    let failed = |error| Missed::dial(addr, &error).denial;
    let mut far = cx.pod.dial(addr, patience).await.map_err(failed)?;
    if !said.is_empty() {
        let written = timeout(patience, far.write_all(said)).await;
        let written = written.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        written.map_err(failed)?;
        connection.went_ahead(said.len());
    }
    Ok(Far::Tcp(far))
}

pub(super) async fn plain(cx: &Context, addr: SocketAddr) -> Result<Far, Missed> {
    let dialled = cx.pod.dial(addr, cx.node.limits.connect).await;
    dialled
        .map(Far::Tcp)
        .map_err(|error| Missed::dial(addr, &error))
}

impl Missed {
    /// An address that did not answer for as long as it may take where there is another one.
    pub(super) fn late(addr: SocketAddr) -> Self {
        Self::dial(addr, &io::ErrorKind::TimedOut.into())
    }

    /// The name leads nowhere; another endpoint may have a better one.
    pub(super) fn unresolved(why: std::fmt::Arguments<'_>) -> Self {
        Self {
            denial: Denial::because(DenyReason::NameUnresolved, why),
            again: true,
        }
    }

    pub(super) fn finally(reason: DenyReason) -> Self {
        Self {
            denial: reason.into(),
            again: false,
        }
    }

    /// The other end's own refusal: as over HBONE, another endpoint is asked where the status says so.
    pub(super) fn refused(denial: Denial) -> Self {
        let again = denial.reason.http_status() == 503;
        Self { denial, again }
    }

    fn dial(addr: SocketAddr, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => DenyReason::ConnectTimeout,
            _ => DenyReason::ConnectFailed,
        };
        Self {
            denial: Denial::because(reason, format_args!("{addr}: {error}")),
            again: true,
        }
    }

    /// What the peer says of its reason goes into our log; it decides nothing but whether another endpoint is asked.
    fn tunnel(error: &ConnectError) -> Self {
        let (reason, policy, again) = match error {
            ConnectError::Refused {
                status,
                deny_reason,
                policy,
            } => {
                let said = deny_reason
                    .as_deref()
                    .and_then(|reason| reason.parse().ok());
                let reason = said.unwrap_or(if *status == 401 {
                    DenyReason::PolicyDeny
                } else {
                    DenyReason::PeerRefused
                });
                (reason, policy.as_deref().map(Arc::from), *status == 503)
            }
            ConnectError::Client(ClientError::Tls(_)) | ConnectError::Draining => {
                (error.deny_reason(), None, false)
            }
            _ => (error.deny_reason(), None, true),
        };
        Self {
            denial: Denial {
                policy,
                ..Denial::because(reason, error)
            },
            again,
        }
    }
}
