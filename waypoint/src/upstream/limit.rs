//! The bound of connections to a service, shared by all data cores, and the places of one core at one endpoint.
//!
//! Invariant: a core may always have one connection to an endpoint, whatever the bound, so that none starves while the
//! connections of another one are idle. Past that, no connection is made without a place under the bound.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// How many connections a service's endpoints may have together, and how many requests may wait for one.
#[derive(Debug)]
pub struct ConnectionLimit {
    max: u32,
    max_waiting: u32,
    open: AtomicU32,
    waiting: AtomicU32,
}

/// One core's connections to one endpoint.
#[derive(Debug, Clone, Default)]
pub struct Places {
    open: Rc<Cell<u32>>,
    freed: Rc<Notify>,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    limit: Option<Arc<ConnectionLimit>>,
    places: Places,
}

/// The place of a request that waits for a connection, given back when dropped.
#[derive(Debug)]
pub struct Waiting<'a>(&'a ConnectionLimit);

impl ConnectionLimit {
    /// Nothing open.
    pub fn new(max: u32, max_waiting: u32) -> Self {
        Self {
            max,
            max_waiting,
            open: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// The bounds: of connections, and of requests that wait.
    pub fn bounds(&self) -> (u32, u32) {
        (self.max, self.max_waiting)
    }

    /// A place to wait, if not too many wait already.
    pub fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting(self);
        (self.waiting.fetch_add(1, Ordering::AcqRel) < self.max_waiting).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    /// A place for one more connection, if there is one under `limit` or this is the first.
    pub fn take(&self, limit: Option<&Arc<ConnectionLimit>>) -> Option<Slot> {
        if let Some(limit) = limit {
            let fits = limit.open.fetch_add(1, Ordering::AcqRel) < limit.max;
            if !fits && self.open.get() > 0 {
                limit.open.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
        }
        self.open.set(self.open.get() + 1);
        Some(Slot {
            limit: limit.cloned(),
            places: self.clone(),
        })
    }

    /// Something that a request may wait for has become free.
    pub fn free(&self) {
        self.freed.notify_one();
    }

    /// Waits until something has become free. It may be gone again: look.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.open.fetch_sub(1, Ordering::AcqRel);
        }
        self.places
            .open
            .set(self.places.open.get().saturating_sub(1));
        self.places.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_but_for_each_first_connection() {
        let limit = Arc::new(ConnectionLimit::new(2, 1));
        let (one, other) = (Places::default(), Places::default());
        let first = one.take(Some(&limit)).unwrap();
        let second = one.take(Some(&limit)).unwrap();
        assert!(one.take(Some(&limit)).is_none());
        let beyond = other.take(Some(&limit)).unwrap();
        assert!(other.take(Some(&limit)).is_none());
        drop(first);
        assert!(
            one.take(Some(&limit)).is_none(),
            "the other core's first connection counts"
        );
        drop((second, beyond));
        assert!(one.take(Some(&limit)).is_some());
        assert!(one.take(None).is_some());
        assert_eq!(limit.open.load(Ordering::Acquire), 0);
    }

    #[test]
    fn waiting_is_bounded() {
        let limit = ConnectionLimit::new(1, 1);
        let waiting = limit.wait().unwrap();
        assert!(limit.wait().is_none());
        drop(waiting);
        assert!(limit.wait().is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_wakes_who_waits() {
        let places = Places::default();
        let slot = places.take(None).unwrap();
        let (waiter, dropper) = (places.freed(), async { drop(slot) });
        tokio::join!(waiter, dropper);
    }
}
