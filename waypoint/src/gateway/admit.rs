//! admit: a client's address, before anything of it is read.
//!
//! Invariant: an [`Admitted`] is made here alone, after the Gateway's own policies were asked.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use culvert_policy::DenyReason;
use culvert_runtime::net;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::ports::OpenPort;
use super::tls::{self, Alert};
use crate::client::Client;
use crate::destination::{Arrival, Destination};
use crate::inbound::tcp::Reset as _;
use crate::permit::{Denied, InForce, check_destination};
use crate::routes::ListenerPlan;
use crate::telemetry::series;
use crate::world::{Core, Session};

/// A connection whose address the Gateway's policies let pass.
pub(super) struct Admitted<'a> {
    pub(super) core: Rc<Core>,
    pub(super) port: &'a OpenPort,
    pub(super) tcp: TcpStream,
    pub(super) client: SocketAddr,
    outside: Client,
    destination: Destination,
    /// Until then the client has to have shaken hands.
    pub(super) deadline: Instant,
}

impl<'a> Admitted<'a> {
    /// Asks the policies; one who may not is refused here.
    pub(super) fn new(core: Rc<Core>, tcp: TcpStream, port: &'a OpenPort) -> Option<Self> {
        let (Ok(client), Ok(local)) = (tcp.peer_addr(), tcp.local_addr()) else {
            return None;
        };
        let (client, local) = (net::canonical(client), net::canonical(local));
        let limits = &core.world.limits;
        if let Err(error) = net::end_when_stalled(&tcp, limits.client_stall) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT");
        }
        let deadline = Instant::now() + limits.handshake;
        let routes = core.world.routes.load();
        let Some(gateway) = &routes.gateway else {
            refuse(tcp, client, port, DenyReason::RouteNotFound.into());
            return None;
        };
        let destination = Destination::Gateway(Arrival {
            gateway: Arc::clone(&gateway.config.name),
            address: local,
            tls: None,
            certificate: OnceLock::new(),
        });
        let rules = InForce {
            snapshot: &core.world.store.snapshot(),
            routes: &routes,
        };
        let outside = Client::outside(client.ip(), &core.series);
        let checked = check_destination(rules, &outside, &destination);
        drop(routes);
        if let Err(denied) = checked {
            refuse(tcp, client, port, denied);
            return None;
        }
        Some(Self {
            core,
            port,
            tcp,
            client,
            outside,
            destination,
            deadline,
        })
    }

    /// The listener of this port that has the host.
    pub(super) fn listener(&self, host: &str) -> Option<Arc<ListenerPlan>> {
        let routes = self.core.world.routes.load();
        let gateway = routes.gateway.as_ref()?;
        gateway.listener(self.port.port, host).cloned()
    }

    /// The session of this connection, and the connection.
    pub(super) fn start(self) -> (Rc<Session>, TcpStream) {
        let drain = self.port.drain.clone();
        let session = Session::new(&self.core, self.outside, self.destination, drain);
        (Rc::new(session), self.tcp)
    }

    /// The same in TLS of a listener.
    pub(super) fn start_tls(mut self, listener: &ListenerPlan) -> (Rc<Session>, TcpStream) {
        if let Destination::Gateway(arrival) = &mut self.destination {
            arrival.tls = Some(Arc::clone(&listener.config.name));
        }
        self.start()
    }

    /// Ends it at once.
    pub(super) fn refuse(self, reason: DenyReason) {
        refuse(self.tcp, self.client, self.port, reason.into());
    }

    /// Refuses a server name that no listener has: by an alert where TLS ends here, else like a backend that is not there.
    pub(super) async fn unrecognized(self) {
        let reason = DenyReason::RouteNotFound;
        let routes = self.core.world.routes.load_full();
        let port = self.port.port;
        if routes
            .gateway
            .as_ref()
            .is_some_and(|gateway| gateway.config.ends_tls(port))
        {
            self.alert(Alert::UnrecognizedName, reason).await;
        } else {
            self.refuse(reason);
        }
    }

    /// Refuses with an alert, which a reset could overtake.
    pub(super) async fn alert(mut self, alert: Alert, reason: DenyReason) {
        counted(self.client, self.port, reason.into());
        let said = tls::alert(&mut self.tcp, alert);
        drop(timeout_at(self.deadline, said).await);
    }
}

/// Ends a connection at once, without an orderly close.
fn refuse(mut tcp: TcpStream, client: SocketAddr, port: &OpenPort, denied: Denied) {
    tcp.reset();
    counted(client, port, denied);
}

/// Accounts for a connection that is refused.
pub(super) fn counted(client: SocketAddr, port: &OpenPort, Denied { reason, policy }: Denied) {
    series::refused(reason.as_str());
    tracing::info!(
        target: "access",
        reporter = "waypoint",
        src.addr = %client.ip(),
        src.identity = "-",
        dst.port = port.port,
        %reason,
        policy = policy.as_deref().unwrap_or("-"),
        "connection refused"
    );
}
