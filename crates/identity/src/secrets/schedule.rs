//! When to renew, and when to try again. Pure, so that clocks can be made up in tests.
//!
//! Invariant: whichever comes first of the wall clock's and the monotonic clock's idea of half-life makes renewal due; a
//! wall clock that jumps, or a machine that sleeps, never leaves an expired certificate unrenewed for long.

use rand::Rng as _;
use std::time::{Duration, Instant, SystemTime};

/// When a certificate is to be renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    wall: SystemTime,
    monotonic: Instant,
    not_before: SystemTime,
}

/// The two clocks, read together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    pub(super) monotonic: Instant,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }
}

impl Due {
    /// Half of what remains, give or take a tenth, so that a node's certificates aren't all renewed at once.
    pub(super) fn half_life(now: Now, not_before: SystemTime, not_after: SystemTime) -> Self {
        let remaining = not_after.duration_since(now.wall).unwrap_or_default();
        let wait = remaining.mul_f64(rand::rng().random_range(0.45..0.55));
        Self {
            wall: now.wall + wait,
            monotonic: now.monotonic + wait,
            not_before,
        }
    }

    /// After a pause, whatever the clock is set to.
    pub(super) fn after(now: Now, pause: Duration) -> Self {
        Self {
            wall: now.wall + pause,
            monotonic: now.monotonic + pause,
            not_before: SystemTime::UNIX_EPOCH,
        }
    }

    /// How long to wait before looking at the clocks again; `None` when renewal is due.
    pub(super) fn wait(&self, now: Now, check: Duration) -> Option<Duration> {
        // The clock was set back to before the certificate's start: peers with the same clock would refuse it.
        if now.wall < self.not_before {
            return None;
        }
        let wall = self.wall.duration_since(now.wall).ok()?;
        let monotonic = self.monotonic.checked_duration_since(now.monotonic)?;
        let wait = wall.min(monotonic);
        if wait.is_zero() {
            None
        } else {
            Some(wait.min(check))
        }
    }
}

/// Pauses between failed attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self {
            next: min,
            min,
            max,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next pause. `remaining` is what the held certificate still lives: several attempts fit into it.
    pub(super) fn pause(&mut self, remaining: Option<Duration>) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.max);
        let pause = match remaining {
            Some(remaining) => pause.min((remaining / 8).max(self.min)),
            None => pause,
        };
        pause.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Duration = Duration::from_secs(30);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn start() -> (Now, Due) {
        let now = Now::read();
        (
            now,
            Due::half_life(now, now.wall - seconds(60), now.wall + seconds(1000)),
        )
    }

    fn later(now: Now, wall: i64, monotonic: u64) -> Now {
        let distance = seconds(wall.unsigned_abs());
        Now {
            wall: if wall < 0 {
                now.wall - distance
            } else {
                now.wall + distance
            },
            monotonic: now.monotonic + seconds(monotonic),
        }
    }

    #[test]
    fn renewed_at_half_life_and_checked_before() {
        let (now, due) = start();
        assert_eq!(due.wait(now, CHECK), Some(CHECK));
        assert!(due.wait(later(now, 440, 440), CHECK).is_some());
        assert_eq!(due.wait(later(now, 551, 551), CHECK), None);
    }

    #[test]
    fn a_sleeping_machine_wakes_to_a_due_renewal() {
        let (now, due) = start();
        assert_eq!(due.wait(later(now, 5000, 3), CHECK), None);
    }

    #[test]
    fn a_clock_set_back_delays_nothing() {
        let (now, due) = start();
        assert!(due.wait(later(now, -30, 3), CHECK).is_some());
        assert_eq!(
            due.wait(later(now, -30, 551), CHECK),
            None,
            "by the monotonic clock"
        );
        assert_eq!(
            due.wait(later(now, -61, 3), CHECK),
            None,
            "not valid yet by this clock"
        );
    }

    #[test]
    fn certificates_of_seconds() {
        let now = Now::read();
        let due = Due::half_life(now, now.wall - seconds(60), now.wall + seconds(4));
        let wait = due.wait(now, CHECK).unwrap();
        assert!(
            wait > Duration::from_millis(1700) && wait < Duration::from_millis(2300),
            "{wait:?}"
        );
    }

    #[test]
    fn an_expired_certificate_is_due_at_once() {
        let now = Now::read();
        assert_eq!(
            Due::half_life(now, now.wall - seconds(60), now.wall - seconds(1)).wait(now, CHECK),
            None
        );
    }

    #[test]
    fn pauses_double_and_fit_into_what_remains() {
        let mut backoff = Backoff::new(seconds(1), seconds(15));
        let pauses: Vec<_> = (0..6).map(|_| backoff.pause(None)).collect();
        for (pause, limit) in pauses.iter().zip([1, 2, 4, 8, 15, 15]) {
            assert!(
                *pause <= seconds(limit) && *pause >= seconds(limit) / 2,
                "{pauses:?}"
            );
        }
        assert!(backoff.pause(Some(seconds(16))) <= seconds(2));
        backoff.reset();
        assert!(backoff.pause(None) <= seconds(1));
    }
}
