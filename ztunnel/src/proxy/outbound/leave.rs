//! `leave`: whether a connection may go outside of the mesh, before anything is dialled there.
//!
//! Invariants: where address and port decide, nothing is read of the client; where a name has to, so many bytes are read
//! and so long, and the name counts only for an address that it resolves to; a connection is in its pod's table before it
//! is judged for the last time, so that a change of policy that races with it loses to a refusal.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use culvert_policy::{DenyReason, EgressSet};
use culvert_sniff::name;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::egress::{At, Leave, Rules, admits, nameless};
use crate::proxy::Context;
use crate::proxy::connections::Connection;
use crate::proxy::denial::Denial;

/// How long a client may take to give its name. Whoever waits for the server to speak first gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Judge, and keep under judgement from now on. What the client has said for it is to be said to the destination.
pub(super) async fn leave(
    cx: &Context,
    connection: &Connection,
    to: SocketAddr,
    app: &mut TcpStream,
) -> Result<Bytes, Denial> {
    let rules = Rules::of(&cx.node.store.snapshot(), &cx.pod);
    let (name, said) = match rules.at(to)? {
        At::Admitted => (None, Bytes::new()),
        At::ByName(set) => {
            let claim = named(cx, set, to, app).await?;
            (Some(claim.name), claim.bytes)
        }
    };
    let leave = Leave { to, name };
    connection.leaves(leave.clone());
    Rules::of(&cx.node.store.snapshot(), &cx.pod).judge(&leave)?;
    Ok(said)
}

/// The name that the client gives, once it is proved to be the destination's.
async fn named(
    cx: &Context,
    set: &EgressSet,
    to: SocketAddr,
    app: &mut TcpStream,
) -> Result<name::Claim, Denial> {
    let claim = match timeout(PATIENCE, name::read(app)).await {
        Ok(Ok(claim)) => claim,
        Ok(Err(error)) => return Err(nameless(set, &error)),
        Err(_elapsed) => return Err(nameless(set, &"the client says nothing, or not enough")),
    };
    let policy = admits(set, to, &claim.name)?;
    let proved = cx.node.egress.prove(cx.pod.lookups(), &claim.name, to.ip());
    proved.await.map_err(|why| Denial {
        policy: Some(policy),
        ..Denial::because(DenyReason::EgressNameUnproven, why)
    })?;
    Ok(claim)
}
