//! An endpoint outside of the cluster that has but a name: what the name leads to, one address after the other.
//!
//! Invariant: a name that leads into the cluster, or back to the pod, leads nowhere: whoever owns the name does not decide
//! what a pod reaches in the mesh without the mesh.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use culvert_xds::state::Workload;
use tokio::time::timeout;

use super::connect::{Missed, plain};
use crate::proxy::Context;
use crate::proxy::connections::Connection;
use crate::proxy::copy::Far;

/// Addresses of one name that one connection tries.
const TRIES: usize = 4;
/// How long one may take, if there is another one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connect to `port` of an address that `name` leads to.
pub(super) async fn dial(
    cx: &Context,
    connection: &Connection,
    workload: &Workload,
    name: &str,
    port: u16,
) -> Result<Far, Missed> {
    let resolved = cx.node.resolver.resolve(name).await;
    let addresses = resolved.map_err(|error| Missed::unresolved(format_args!("{name} {error}")))?;
    let asked = connection.facts().destination_addr;
    let turn = usize::from(connection.facts().source_addr.port());
    let ordered = culvert_resolve::in_order(&addresses, asked.is_ipv4(), turn);
    let snapshot = cx.node.store.snapshot();
    let may = |ip: &IpAddr| !workload.external() || snapshot.is_outside(*ip);
    let can = |ip: &IpAddr| {
        let mut own = cx.pod.addresses().iter();
        own.any(|own| own.is_ipv4() == ip.is_ipv4()) && !cx.pod.owns(*ip)
    };
    let mut usable = ordered
        .into_iter()
        .filter(|ip| may(ip) && can(ip))
        .take(TRIES)
        .peekable();
    let mut last = Missed::unresolved(format_args!(
        "{name} leads to no address outside of the cluster that the pod could reach: {addresses:?}"
    ));
    while let Some(ip) = usable.next() {
        let addr = SocketAddr::new(ip, port);
        let dialled = plain(cx, addr);
        let dialled = match usable.peek() {
            Some(_) => timeout(PATIENCE, dialled)
                .await
                .unwrap_or_else(|_late| Err(Missed::late(addr))),
            None => dialled.await,
        };
        match dialled {
            Ok(far) => {
                connection.facts().destination_addr = addr;
                return Ok(far);
            }
            Err(missed) => last = missed,
        }
    }
    Err(last)
}
