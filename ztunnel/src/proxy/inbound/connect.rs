//! `connect`: dial what was permitted, from the client's address, inside the pod.

use culvert_policy::DenyReason;
use culvert_runtime::limits::Limits;
use culvert_xds::state::Workload;
use tokio::net::TcpStream;

use super::authorize::Permit;
use crate::faults::Strike;
use crate::inpod::Pod;
use crate::proxy::connections::Stop;
use crate::proxy::denial::Denial;
use crate::proxy::faulted::Faulted;

/// An application's connection, and what revokes it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    app: App,
    permit: Permit,
}

/// The application's side.
#[derive(Debug)]
pub(crate) enum App {
    Plain(TcpStream),
    Faulted(Box<Faulted>),
}

/// Dial the permit's destination, unless what strikes keeps it from being reached.
pub(crate) async fn connect(
    mut permit: Permit,
    strike: Option<Strike>,
    pod: &Pod,
    limits: &Limits,
) -> Result<Tunnel, Denial> {
    let app = match strike {
        None => App::Plain(dial(&mut permit, pod, limits).await?),
        Some(strike) => {
            let app = match strike.dials() {
                true => Some(dial(&mut permit, pod, limits).await?),
                false => None,
            };
            App::Faulted(Box::new(Faulted { app, strike }))
        }
    };
    Ok(Tunnel { app, permit })
}

/// Stops when the permit is revoked meanwhile.
async fn dial(permit: &mut Permit, pod: &Pod, limits: &Limits) -> Result<TcpStream, Denial> {
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
    dialled.map_err(|error| Denial::because(reason(&error), format_args!("{addr}: {error}")))
}

impl App {
    /// End it as an error.
    pub(crate) fn reset(self) {
        let app = match self {
            Self::Plain(app) => Some(app),
            Self::Faulted(faulted) => faulted.app,
        };
        if let Some(app) = app {
            crate::proxy::reset(app);
        }
    }
}

impl Tunnel {
    /// The workload that was reached.
    pub(super) fn workload(&self) -> &Workload {
        self.permit.destination().workload()
    }

    /// Both, for the copy.
    pub(crate) fn into_parts(self) -> (App, Stop) {
        (self.app, self.permit.into_stop())
    }
}
