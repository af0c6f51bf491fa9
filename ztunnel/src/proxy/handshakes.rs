//! How many tunnels to a pod are still without a stream, so that peers who connect and say nothing are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tunnels of one pod that nobody uses yet.
#[derive(Clone, Debug)]
pub(crate) struct Handshakes {
    limit: usize,
    count: Arc<AtomicUsize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<AtomicUsize>);

impl Handshakes {
    /// At most `limit` at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            count: Arc::default(),
        }
    }

    /// One more, unless there are too many.
    pub(crate) fn start(&self) -> Option<Handshake> {
        let handshake = Handshake(self.count.clone());
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        (before < self.limit).then_some(handshake)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_beyond_the_limit_is_refused_and_a_place_is_given_back() {
        let handshakes = Handshakes::new(1);
        let first = handshakes.start();
        assert!(first.is_some() && handshakes.start().is_none() && handshakes.start().is_none());
        drop(first);
        assert!(handshakes.start().is_some());
    }
}
