//! The pods of this node by address: whoever dials one of them need not go over the network.
//!
//! Invariant: a pod that takes nothing new is nobody's neighbour.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::Context;

/// One for the process.
#[derive(Debug, Default)]
pub(crate) struct Neighbours(RwLock<HashMap<IpAddr, Weak<Context>>>);

impl Neighbours {
    /// A pod is served from now on.
    pub(super) fn add(&self, cx: &Arc<Context>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, cx| cx.strong_count() > 0);
        for ip in cx.pod.addresses() {
            known.insert(*ip, Arc::downgrade(cx));
        }
    }

    /// The pod with this address.
    pub(super) fn at(&self, ip: IpAddr) -> Option<Arc<Context>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cx = known.get(&ip)?.upgrade()?;
        (!cx.drain.is_draining()).then_some(cx)
    }
}
