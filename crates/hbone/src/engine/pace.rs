//! How much a connection moved lately.
//!
//! Invariant: what is older than two windows does not count.

use std::time::Duration;

/// Bytes are counted for so long together.
const WINDOW: Duration = Duration::from_millis(100);

/// Bytes of the running window and of the one before.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window: u64,
    running: u64,
    before: u64,
}

impl Pace {
    pub(super) fn add(&mut self, now: Duration, n: usize) {
        self.turn(now);
        self.running += n as u64;
    }

    /// Bytes of a window: of the last one, or of the running one if those are more already.
    pub(super) fn lately(&mut self, now: Duration) -> u64 {
        self.turn(now);
        self.running.max(self.before)
    }

    fn turn(&mut self, now: Duration) {
        let window = now.as_millis() as u64 / WINDOW.as_millis() as u64;
        match window.saturating_sub(self.window) {
            0 => return,
            1 => self.before = self.running,
            _ => self.before = 0,
        }
        (self.window, self.running) = (window, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_is_forgotten_after_two_windows() {
        let mut pace = Pace::default();
        pace.add(WINDOW / 2, 10);
        pace.add(WINDOW / 2, 10);
        assert_eq!(pace.lately(WINDOW / 2), 20);
        pace.add(WINDOW, 5);
        assert_eq!(pace.lately(WINDOW + WINDOW / 2), 20);
        pace.add(WINDOW * 2, 1);
        assert_eq!(pace.lately(WINDOW * 2), 5);
        assert_eq!(pace.lately(WINDOW * 4), 0);
    }
}
