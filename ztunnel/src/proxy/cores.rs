//! The data cores and what each has of its own: the pool of tunnels of the connections that it carries.
//!
//! Invariant: a connection is handed to a core once, after it was routed; its tunnel and both its sockets are there, so
//! that no lock is shared where bytes move.

use std::cell::OnceCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use culvert_hbone::{Pool, TunnelConfig};
use culvert_runtime::cores::{Core, Cores};
use culvert_runtime::task;
use tokio::net::TcpStream;

/// The cores of this process.
#[derive(Clone, Debug)]
pub(crate) struct DataCores(Cores);

/// What one core has.
#[derive(Debug)]
pub(crate) struct Local {
    index: usize,
    /// Tunnels to other proxies.
    pub(crate) pool: Pool,
}

thread_local! {
    static LOCAL: OnceCell<Rc<Local>> = const { OnceCell::new() };
}

impl DataCores {
    /// Start `n` cores.
    pub(crate) fn start(n: usize, tunnel: &TunnelConfig) -> io::Result<Self> {
        let cores = Cores::start(n, "data")?;
        for core in &cores {
            let (index, tunnel) = (core.index(), tunnel.clone());
            core.spawn(move || async move {
                LOCAL.with(|local| {
                    local
                        .get_or_init(|| {
                            Rc::new(Local {
                                index,
                                pool: Pool::new(tunnel),
                            })
                        })
                        .index
                });
            });
        }
        Ok(Self(cores))
    }

    /// The core for `key`.
    pub(crate) fn of(&self, key: &impl Hash) -> &Core {
        self.0.pick(hash(key))
    }

    /// Go on with an accepted connection in a task of its own, on the core for `key`, which may be this one; on another one
    /// while that moves much, so that what is small does not wait for it.
    pub(crate) fn hand<F, Fut>(
        &self,
        key: &impl Hash,
        name: &'static str,
        stream: std::net::TcpStream,
        f: F,
    ) where
        F: FnOnce(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let core = self.0.pick_quiet(hash(key));
        let begin = move || match TcpStream::from_std(stream) {
            Ok(stream) => drop(task::spawn_local(name, f(stream))),
            Err(error) => tracing::warn!(%error, "cannot take a connection"),
        };
        if local().is_some_and(|local| local.index == core.index()) {
            begin();
        } else {
            core.spawn(move || async move { begin() });
        }
    }

    /// A pod has left: its tunnels take no new streams and close after the open ones.
    pub(crate) fn retire(&self, tunnels: &Arc<str>) {
        for core in &self.0 {
            let tunnels = tunnels.clone();
            core.spawn(move || async move {
                if let Some(local) = local() {
                    local.pool.evict(&tunnels);
                }
            });
        }
    }
}

fn hash(key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// What the current core has; `None` on a thread that is none.
pub(crate) fn local() -> Option<Rc<Local>> {
    LOCAL.with(|local| local.get().cloned())
}
