//! Endpoints outside of the cluster that have but a name: what the name leads to, one address after the other.
//!
//! Invariant: a name that leads into the cluster, or to this waypoint itself, leads nowhere: whoever owns the name does not
//! decide what this waypoint reaches.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use culvert_policy::DenyReason;
use culvert_resolve::Resolver;
use culvert_xds::Store;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::connect::plain;
use super::endpoint::Endpoint;
use crate::world::World;

/// Addresses of one name that one connection tries.
const TRIES: usize = 4;
/// How long one may take, if there is another one.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a core finds them with.
#[derive(Debug)]
pub(super) struct Outside {
    resolver: Resolver,
    store: Store,
    /// Which of several addresses is first.
    turn: Cell<usize>,
}

impl Outside {
    pub(super) fn new(world: &World) -> Self {
        Self {
            resolver: world.resolver.clone(),
            store: world.store.clone(),
            turn: Cell::default(),
        }
    }

    /// Connects to an address that `name` leads to, within the deadline.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        name: &str,
        deadline: Duration,
    ) -> Result<TcpStream, DenyReason> {
        let end = Instant::now() + deadline;
        let late = |_| DenyReason::ConnectTimeout;
        let resolved = timeout_at(end, self.resolver.resolve(name)).await;
        let addresses = resolved.map_err(late)?.map_err(|error| {
            tracing::debug!(name, %error, "endpoint not found");
            DenyReason::NameUnresolved
        })?;
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let snapshot = self.store.snapshot();
        let external = endpoint.workload().external();
        let may = |ip: &IpAddr| !external || snapshot.is_outside(*ip);
        let ordered = culvert_resolve::in_order(&addresses, true, turn);
        let mut usable = ordered.into_iter().filter(may).take(TRIES).peekable();
        if usable.peek().is_none() {
            tracing::debug!(
                name,
                ?addresses,
                "the name leads to no address outside of the cluster"
            );
        }
        let mut last = DenyReason::NameUnresolved;
        while let Some(ip) = usable.next() {
            let address = SocketAddr::new(ip, endpoint.address().port());
            let left = end.saturating_duration_since(Instant::now());
            let patience = match usable.peek() {
                Some(_) => left.min(PATIENCE),
                None => left,
            };
            match plain(address, patience).await {
                Ok(stream) => return Ok(stream),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }
}
