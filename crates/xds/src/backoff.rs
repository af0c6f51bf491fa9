//! How long to wait before the next stream: doubling from 10 ms to 15 s, with jitter, so that a thousand clients of a
//! restarted controller do not return at the same moment.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LAST: Duration = Duration::from_secs(15);

/// A stream that lived this long counts as healthy.
const HEALTHY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait after a stream that lived for `lived`: between half of the current step and all of it, by `jitter` from
    /// 0 to 1.
    pub(crate) fn after(&mut self, lived: Duration, jitter: f64) -> Duration {
        if lived >= HEALTHY {
            self.next = FIRST;
        }
        let step = self.next;
        self.next = (step * 2).min(LAST);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_cap_and_starts_over_after_a_healthy_stream() {
        let mut backoff = Backoff::new();
        let steps: Vec<_> = (0..12)
            .map(|_| backoff.after(Duration::ZERO, 1.0))
            .collect();
        assert_eq!(steps[0], FIRST);
        assert_eq!(steps[1], 2 * FIRST);
        assert_eq!(steps[10], 1024 * FIRST);
        assert_eq!(steps[11], LAST);
        assert_eq!(backoff.after(HEALTHY, 1.0), FIRST);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.after(Duration::ZERO, 0.0), FIRST / 2);
        assert_eq!(backoff.after(Duration::ZERO, 0.5), FIRST * 3 / 2);
    }
}
