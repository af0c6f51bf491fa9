//! `fault`: the failures that users ask for.
//!
//! Invariants: it comes after authorize, so that a policy denies whom it denies, fault or not; what it holds goes on under
//! judgement; and it costs one look where there is no fault.

use super::authorize::Permit;
use crate::faults::{Aim, Strike};
use crate::node::Node;
use crate::proxy::connections::Connection;
use crate::proxy::denial::Denial;

/// What strikes a permitted connection, after the delay that may be a part of it. Stops when the permit is revoked
/// meanwhile.
pub(crate) async fn fault(
    node: &Node,
    connection: &Connection,
    permit: &mut Permit,
) -> Result<Option<Strike>, Denial> {
    if !node.faults.any() {
        return Ok(None);
    }
    let Some(mut strike) = node.faults.strike(aim(node, connection, permit)) else {
        return Ok(None);
    };
    connection.facts().fault = Some(strike.label());
    tokio::select! {
        biased;
        denial = permit.stop().stopped() => return Err(denial),
        () = strike.wait() => {}
    }
    // It may have been a long delay.
    strike.let_go();
    Ok(strike.shapes().then_some(strike))
}

fn aim(node: &Node, connection: &Connection, permit: &Permit) -> Aim {
    let destination = permit.destination();
    let service = connection.facts().service.clone();
    let peer = permit.peer().identity().map(|(id, _)| id.clone());
    Aim::new(
        &node.store.snapshot(),
        destination.workload(),
        destination.addr().port(),
        service.as_deref(),
        peer,
    )
}
