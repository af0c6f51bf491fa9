//! The tunnels of one core, shared by the streams of one pod to one workload.
//!
//! Invariants: two source pods never share a tunnel, be they of one identity, since the destination sees the tunnel's
//! source address; one task dials for a key at a time and its failure is that of exactly those who wait for it; a tunnel
//! of an older identity generation, or one past its age, gets no new stream.

mod dial;
mod entry;

use crate::client::{ConnectRequest, handshake};
use crate::config::TunnelConfig;
use crate::error::{ClientError, ConnectError};
use crate::headers::ResponseHeaders;
use crate::stream::TunnelStream;
use culvert_identity::{Identity, SpiffeId};
use culvert_runtime::task;
use dial::{Dialing, Waiting};
use entry::{Entry, Pooled};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How often a request that was surely not processed is sent again, in another tunnel.
const ATTEMPTS: usize = 3;

/// What tunnels are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Uid of the pod that calls.
    pub source: Arc<str>,
    /// Its identity.
    pub identity: SpiffeId,
    /// Uid of the workload that is called, or of the waypoint.
    pub destination: Arc<str>,
    /// Where that one takes tunnels.
    pub addr: SocketAddr,
}

/// What is in a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Keys with a tunnel or a dial.
    pub keys: usize,
    /// Tunnels that take new streams.
    pub tunnels: usize,
    /// Streams in them.
    pub streams: usize,
    /// Dials in progress.
    pub dialing: usize,
}

/// The tunnels of one core. Cheap to clone. Its methods are to be called where local tasks can be spawned.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: TunnelConfig,
    entries: RefCell<HashMap<PoolKey, Entry>>,
    draining: Cell<bool>,
    sweeping: Cell<bool>,
}

/// What a caller is to do next.
enum Next {
    Open(Pooled, crate::stream::Active),
    Wait(Waiting, Otherwise),
    Dial(Dialing, Otherwise),
}

/// What there is if the dial fails.
#[derive(Clone, Copy)]
enum Otherwise {
    Nothing,
    /// A crowded tunnel, which is better than none.
    Crowded,
}

impl Otherwise {
    /// Whether to go on looking for a quiet tunnel.
    fn after(self, dialled: Result<(), ClientError>) -> Result<bool, ClientError> {
        match (self, dialled) {
            (Self::Nothing, Err(error)) => Err(error),
            (_, dialled) => Ok(dialled.is_ok()),
        }
    }
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: TunnelConfig) -> Self {
        let (draining, sweeping) = (Cell::new(false), Cell::new(false));
        Self(Rc::new(Inner {
            config,
            entries: RefCell::default(),
            draining,
            sweeping,
        }))
    }

    /// Opens a stream to one of `expected`, in a tunnel that is there or in a new one over what `dial` connects.
    pub async fn connect<D>(
        &self,
        key: &PoolKey,
        dial: D,
        identity: &Arc<Identity>,
        expected: &[SpiffeId],
        request: ConnectRequest,
    ) -> Result<(TunnelStream, ResponseHeaders), ConnectError>
    where
        D: AsyncFn() -> io::Result<TcpStream>,
    {
        let mut attempts = 0;
        let mut picky = true;
        loop {
            let (tunnel, active) = match self.next(key, identity, expected, picky)? {
                Next::Open(pooled, active) => (pooled.tunnel, active),
                Next::Wait(waiting, otherwise) => {
                    picky &= otherwise.after(waiting.outcome().await)?;
                    continue;
                }
                Next::Dial(dialing, otherwise) => {
                    // Boxed, so that the stream's task does not carry the room for a handshake along.
                    let dialled = Box::pin(self.dial(key, &dial, identity, expected, dialing));
                    picky &= otherwise.after(dialled.await)?;
                    continue;
                }
            };
            attempts += 1;
            match tunnel.connect_reserved(&request, active).await {
                Err(ConnectError::NotProcessed) if attempts < ATTEMPTS => {}
                result => return result,
            }
        }
    }

    fn next(
        &self,
        key: &PoolKey,
        identity: &Identity,
        expected: &[SpiffeId],
        picky: bool,
    ) -> Result<Next, ConnectError> {
        if self.0.draining.get() {
            return Err(ConnectError::Draining);
        }
        let mut entries = self.0.entries.borrow_mut();
        let entry = entries.entry(key.clone()).or_default();
        entry.retire(identity.generation);
        let otherwise = if picky && entry.is_crowded(expected) {
            Otherwise::Crowded
        } else if let Some((pooled, active)) = entry.pick(expected) {
            return Ok(Next::Open(pooled, active));
        } else {
            Otherwise::Nothing
        };
        Ok(match entry.waiting() {
            Some(waiting) => Next::Wait(waiting, otherwise),
            None => Next::Dial(entry.start_dial(), otherwise),
        })
    }

    async fn dial<D>(
        &self,
        key: &PoolKey,
        dial: &D,
        identity: &Identity,
        expected: &[SpiffeId],
        dialing: Dialing,
    ) -> Result<(), ClientError>
    where
        D: AsyncFn() -> io::Result<TcpStream>,
    {
        self.start_sweep();
        let result = async {
            let tcp = dial().await?;
            handshake(tcp, &identity.client, expected, &self.0.config).await
        };
        let result = result.await.map(|tunnel| {
            // An eviction meanwhile took the entry away: who still wants a tunnel then dials anew.
            if let Some(entry) = self.0.entries.borrow_mut().get_mut(key) {
                let old = TunnelConfig::old(self.0.config.client_age);
                entry.add(Pooled::new(tunnel, identity.generation, old));
            }
        });
        dialing.finish(result.clone());
        result
    }

    /// Takes the tunnels from and to this workload out of the pool. Their open streams finish.
    pub fn evict(&self, uid: &str) {
        self.0
            .entries
            .borrow_mut()
            .retain(|key, _| &*key.source != uid && &*key.destination != uid);
    }

    /// Takes no new streams from now on; open ones finish.
    pub fn drain(&self) {
        self.0.draining.set(true);
        self.0.entries.borrow_mut().clear();
    }

    /// What is in it.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let entries = self.0.entries.borrow();
        entries.values().fold(
            PoolStats {
                keys: entries.len(),
                ..PoolStats::default()
            },
            |stats, entry| PoolStats {
                tunnels: stats.tunnels + entry.tunnels(),
                streams: stats.streams + entry.streams(),
                dialing: stats.dialing + usize::from(entry.is_dialing()),
                ..stats
            },
        )
    }

    /// One task releases idle tunnels for as long as there are any.
    fn start_sweep(&self) {
        if self.0.sweeping.replace(true) {
            return;
        }
        let pool = Rc::downgrade(&self.0);
        let idle = self.0.config.idle;
        task::spawn_local("hbone_pool_sweep", sweep(pool, idle));
    }
}

async fn sweep(pool: Weak<Inner>, idle: Duration) {
    loop {
        tokio::time::sleep(idle / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut entries = pool.entries.borrow_mut();
        let now = Instant::now();
        entries.retain(|_, entry| entry.sweep(now, idle));
        if entries.is_empty() {
            pool.sweeping.set(false);
            return;
        }
    }
}
