//! `connect`: dial what was permitted, from the client's address, inside the pod.

use culvert_policy::DenyReason;
use culvert_runtime::limits::Limits;
use culvert_xds::state::Workload;
use tokio::net::TcpStream;

use super::authorize::Permit;
use crate::inpod::Pod;
use crate::proxy::connections::Stop;
use crate::proxy::denial::Denial;

/// An application's connection, and what revokes it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    app: TcpStream,
    permit: Permit,
}

/// Dial the permit's destination. Stops when the permit is revoked meanwhile.
pub(crate) async fn connect(
    mut permit: Permit,
    pod: &Pod,
    limits: &Limits,
) -> Result<Tunnel, Denial> {
    let (addr, client) = (permit.destination().addr(), permit.peer().address());
    let dial = async {
        if client.is_ipv4() == addr.is_ipv4() {
            pod.dial_from(client, addr, limits.connect).await
        } else {
            // A tunnel of one family led to an address of the other: there is no way to keep the client's.
            pod.dial(addr, limits.connect).await
        }
    };
    let dialled = tokio::select! {
        biased;
        denial = permit.stop().stopped() => return Err(denial),
        dialled = dial => dialled,
    };
    let reason = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::TimedOut => DenyReason::ConnectTimeout,
        _ => DenyReason::ConnectFailed,
    };
    let app = dialled
        .map_err(|error| Denial::because(reason(&error), format_args!("{addr}: {error}")))?;
    Ok(Tunnel { app, permit })
}

impl Tunnel {
    /// The workload that was reached.
    pub(super) fn workload(&self) -> &Workload {
        self.permit.destination().workload()
    }

    /// Both, for the copy.
    pub(crate) fn into_parts(self) -> (TcpStream, Stop) {
        (self.app, self.permit.into_stop())
    }
}
