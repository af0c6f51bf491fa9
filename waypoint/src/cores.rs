//! The data cores, and how connections are spread over them.
//!
//! Invariant: a connection goes to the core that has the fewest and stays there.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use culvert_runtime::cores::Cores;
use culvert_runtime::drain::Drain;
use culvert_runtime::task;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gateway::{self, OpenPort};
use crate::inbound;
use crate::world::{Core, World};

/// Handles to all data cores.
#[derive(Debug, Clone)]
pub struct DataCores {
    cores: Cores,
    open: Arc<[Arc<AtomicUsize>]>,
}

/// Hands connections to the cores; when it is dropped, they take no more.
#[derive(Debug)]
pub struct Spread {
    inboxes: Vec<UnboundedSender<Arrived>>,
    open: Arc<[Arc<AtomicUsize>]>,
    limit: usize,
}

/// A connection on its way to a core, and the gateway's port that it came in by; none is HBONE.
type Arrived = (TcpStream, Option<Arc<OpenPort>>);

impl DataCores {
    /// Starts `count` threads.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let cores = Cores::start(count, "data")?;
        let open = (0..cores.count()).map(|_| Arc::default()).collect();
        Ok(Self { cores, open })
    }

    /// Connections that are open on each core.
    pub fn connections(&self) -> Vec<usize> {
        self.open
            .iter()
            .map(|open| open.load(Ordering::Relaxed))
            .collect()
    }

    /// Makes every core serve `world` until the drain has ended.
    pub fn serve(&self, world: &Arc<World>, drain: &Drain) -> Spread {
        let inboxes = self.cores.iter().zip(self.open.iter()).map(|(core, open)| {
            let (sender, inbox) = unbounded_channel();
            let (world, drain, open) = (Arc::clone(world), drain.clone(), Arc::clone(open));
            core.spawn(move || run(world, drain, inbox, open));
            sender
        });
        Spread {
            inboxes: inboxes.collect(),
            open: Arc::clone(&self.open),
            limit: world.limits.connections,
        }
    }
}

/// One core's life.
async fn run(
    world: Arc<World>,
    drain: Drain,
    mut inbox: UnboundedReceiver<Arrived>,
    open: Arc<AtomicUsize>,
) {
    let core = Core::start(world, drain);
    while let Some((tcp, port)) = inbox.recv().await {
        let core = Rc::clone(&core);
        let counted = Counted(Arc::clone(&open));
        let name = if port.is_some() {
            "gateway_inbound"
        } else {
            "hbone_inbound"
        };
        task::spawn_local(name, async move {
            match (tokio::net::TcpStream::from_std(tcp), port) {
                (Ok(tcp), None) => inbound::serve(Rc::clone(&core), tcp).await,
                (Ok(tcp), Some(port)) => gateway::serve(Rc::clone(&core), tcp, &port).await,
                (Err(error), _) => tracing::warn!(%error, "accepted connection lost"),
            }
            drop(counted);
            // Last: the drain has ended when no core is held any more.
            drop(core);
        });
    }
}

/// One of the connections that are open on a core.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spread {
    /// Hands an HBONE connection to the core that has the fewest. One too many is closed.
    pub fn hand(&self, tcp: TcpStream) {
        self.spread(tcp, None);
    }

    /// The same for a connection to one of the gateway's own ports.
    pub fn hand_client(&self, tcp: TcpStream, port: &Arc<OpenPort>) {
        self.spread(tcp, Some(Arc::clone(port)));
    }

    fn spread(&self, tcp: TcpStream, port: Option<Arc<OpenPort>>) {
        let counts = self.open.iter().map(|open| open.load(Ordering::Relaxed));
        if counts.clone().sum::<usize>() >= self.limit {
            tracing::debug!("too many connections, one is closed");
            return;
        }
        let least = counts
            .enumerate()
            .min_by_key(|(_, count)| *count)
            .map(|(index, _)| index);
        let Some((inbox, open)) =
            least.and_then(|index| Some((self.inboxes.get(index)?, self.open.get(index)?)))
        else {
            return;
        };
        open.fetch_add(1, Ordering::Relaxed);
        if inbox.send((tcp, port)).is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
