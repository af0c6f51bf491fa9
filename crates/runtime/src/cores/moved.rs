//! How many bytes a core or a tunnel moves, so that what is small keeps away from one that moves much.
//!
//! Invariant: one thread writes, at most once for each large read; whoever reads sees the last window or the one before.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Bytes are counted for so long together.
const WINDOW: Duration = Duration::from_millis(100);
/// Less at once is not worth counting.
const LEAST: usize = 16 * 1024;
/// From so many bytes in a window on, a core moves much: 0.8 Gb/s.
const MUCH: u64 = 10_000_000;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Bytes of a running window, and of the one before.
#[derive(Debug, Default)]
pub struct Moved {
    window: AtomicU64,
    running: AtomicU64,
    before: AtomicU64,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Moved>>> = const { RefCell::new(None) };
}

/// So many bytes were moved by the core that calls. On any other thread nothing is counted.
pub fn moved(bytes: usize) {
    if bytes >= LEAST {
        HERE.with_borrow(|here| {
            if let Some(here) = here {
                here.add(now(), bytes as u64);
            }
        });
    }
}

fn now() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis() / WINDOW.as_millis()).unwrap_or(u64::MAX)
}

impl Moved {
    /// So many bytes were moved by this tunnel, and so by the core that calls.
    pub fn count(&self, bytes: usize) {
        if bytes >= LEAST {
            let now = now();
            self.add(now, bytes as u64);
            HERE.with_borrow(|here| here.iter().for_each(|core| core.add(now, bytes as u64)));
        }
    }

    /// Bytes of 0.1 s: of the last window, or of the running one if those are more already.
    #[must_use]
    pub fn lately(&self) -> u64 {
        self.at(now())
    }

    /// Counts what this thread moves from now on.
    pub(super) fn begin(self: &Arc<Self>) {
        HERE.set(Some(self.clone()));
    }

    /// Whether it is much, of late.
    pub(super) fn is_much(&self) -> bool {
        self.lately() >= MUCH
    }

    fn add(&self, now: u64, bytes: u64) {
        let running = self.running.load(Relaxed);
        match now.saturating_sub(self.window.load(Relaxed)) {
            0 => return self.running.store(running + bytes, Relaxed),
            1 => self.before.store(running, Relaxed),
            _ => self.before.store(0, Relaxed),
        }
        self.running.store(bytes, Relaxed);
        self.window.store(now, Relaxed);
    }

    fn at(&self, now: u64) -> u64 {
        let running = self.running.load(Relaxed);
        match now.saturating_sub(self.window.load(Relaxed)) {
            0 => running.max(self.before.load(Relaxed)),
            1 => running,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_is_forgotten_after_two_windows() {
        let moved = Moved::default();
        moved.add(0, 10);
        moved.add(0, 10);
        moved.add(1, 5);
        assert_eq!([1, 2, 3].map(|now| moved.at(now)), [20, 5, 0]);
        moved.add(7, 1);
        assert_eq!(moved.at(7), 1);
    }
}
