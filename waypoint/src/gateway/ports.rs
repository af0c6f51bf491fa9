//! The ports that a Gateway's listeners listen at: opened and closed as the Gateway says.
//!
//! Invariants: a port is open exactly while a listener has it; a change of another port's listeners touches neither its
//! socket nor its connections. One that speaks something else from now on, or asks something else of clients, keeps its
//! socket, and its old connections drain.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use culvert_runtime::drain::{self, Drain, Trigger};
use culvert_runtime::net::{self, ListenOptions};
use culvert_runtime::ready::{Ready, ReadyTask};
use culvert_runtime::{accept, task};
use tokio::net::TcpListener;

use crate::config::gateway::{Gateway, Spoken};
use crate::cores::Spread;
use crate::routes::OwnGateway;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What readiness is said to wait for.
const PENDING: &str = "listeners of the gateway";

/// A port that is listened at, as its connections know it.
#[derive(Debug)]
pub struct OpenPort {
    /// Its number.
    pub port: u16,
    /// What it speaks.
    pub spoken: Spoken,
    /// Told when it is closed, or speaks something else.
    pub drain: Drain,
}

/// A socket that takes connections; dropped, it closes, and they drain.
#[derive(Debug)]
struct Listening {
    /// What the next connection comes in by.
    now: Arc<ArcSwap<OpenPort>>,
    _accepting: Trigger,
    connections: Trigger,
}

/// All ports of this process's own Gateway.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    spread: Arc<Spread>,
    open: BTreeMap<u16, Listening>,
    ready: Ready,
    /// Readiness waits for the first configuration alone.
    first: bool,
    opening: Option<ReadyTask>,
}

impl Ports {
    /// Ports at `address`, none open yet, whose connections go to `spread`.
    pub fn new(address: IpAddr, spread: Arc<Spread>, ready: Ready) -> Self {
        Self {
            address,
            spread,
            open: BTreeMap::new(),
            ready,
            first: true,
            opening: None,
        }
    }

    /// Opens and closes ports as the Gateway says, until the drain starts. `started` is given up once the ports of the
    /// first configuration are open, or there is none.
    pub async fn run(mut self, mut gateway: OwnGateway, draining: Drain, started: ReadyTask) {
        let mut started = Some(started);
        let mut pause = FIRST_PAUSE;
        loop {
            let wanted = gateway.borrow_and_update().clone();
            let all = self.follow(wanted.as_deref());
            drop(started.take());
            pause = if all {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
            tokio::select! {
                biased;
                () = draining.signaled() => return,
                changed = gateway.changed() => if changed.is_err() {
                    return draining.signaled().await;
                },
                () = tokio::time::sleep(pause), if !all => {}
            }
        }
    }

    /// Closes what nobody wants, opens what is missing, and says whether all is open.
    fn follow(&mut self, gateway: Option<&Gateway>) -> bool {
        if gateway.is_some() && std::mem::take(&mut self.first) {
            self.opening = Some(self.ready.task(PENDING));
        }
        let wanted = gateway.map(Gateway::ports).unwrap_or_default();
        self.open.retain(|port, _| {
            let kept = wanted.contains_key(port);
            if !kept {
                tracing::info!(port, "port of the gateway closes");
            }
            kept
        });
        let mut all = true;
        for (port, spoken) in wanted {
            if let Some(listening) = self.open.get_mut(&port) {
                listening.speak(spoken);
                continue;
            }
            let transport = spoken.transport;
            match self.listen(port, spoken) {
                Ok(listening) => {
                    tracing::info!(port, ?transport, "port of the gateway is open");
                    self.open.insert(port, listening);
                }
                Err(error) => {
                    all = false;
                    let address = SocketAddr::new(self.address, port);
                    tracing::error!(%address, %error, "cannot listen at a port of the gateway, will try again");
                }
            }
        }
        if all {
            self.opening = None;
        }
        all
    }

    fn listen(&self, port: u16, spoken: Spoken) -> io::Result<Listening> {
        let address = SocketAddr::new(self.address, port);
        let listener = net::listen(address, &ListenOptions::default())?;
        let listener = TcpListener::from_std(listener)?;
        let (connections, now) = OpenPort::new(port, spoken);
        let now = Arc::new(ArcSwap::new(now));
        let (accepting, drain) = drain::channel();
        let (spread, by) = (Arc::clone(&self.spread), Arc::clone(&now));
        let accept = async move {
            accept::run(listener, drain, |tcp, _| {
                spread.hand_client(tcp, &by.load())
            })
            .await;
        };
        task::spawn("gateway_accept", accept);
        Ok(Listening {
            now,
            _accepting: accepting,
            connections,
        })
    }
}

impl OpenPort {
    fn new(port: u16, spoken: Spoken) -> (Trigger, Arc<Self>) {
        let (trigger, drain) = drain::channel();
        let open = Self {
            port,
            spoken,
            drain,
        };
        (trigger, Arc::new(open))
    }
}

impl Listening {
    /// Speaks this from now on.
    fn speak(&mut self, spoken: Spoken) {
        let port = self.now.load().port;
        if self.now.load().spoken != spoken {
            let (connections, now) = OpenPort::new(port, spoken);
            self.now.store(now);
            self.connections = connections;
        }
    }
}
