//! How soon a change of the CNI configuration is put right: at once, unless somebody else makes it again and again.
//!
//! Invariant: the time between two repairs grows to half a minute while the other does not give in, and a repair that
//! stands alone is never late.

use std::time::Duration;

use tokio::time::Instant;

/// Changes of one writer come together.
const SETTLE: Duration = Duration::from_millis(20);
/// So many repairs in a row are still a matter of an installation or an upgrade.
const FREE: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// So long without a repair and the next one stands alone.
const QUIET: Duration = Duration::from_secs(60);

/// Repairs that come one after the other.
#[derive(Debug, Default)]
pub(super) struct Pace {
    in_row: u32,
    last: Option<Instant>,
}

impl Pace {
    /// One has been made.
    pub(super) fn repaired(&mut self, now: Instant) {
        if !self.is_lately(now) {
            self.in_row = 0;
        }
        self.in_row = self.in_row.saturating_add(1);
        self.last = Some(now);
    }

    /// Whether somebody else wants the last word.
    pub(super) fn is_contended(&self, now: Instant) -> bool {
        self.in_row > FREE && self.is_lately(now)
    }

    /// How long to wait from `now` on before the next.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let (true, Some(last)) = (self.is_contended(now), self.last) else {
            return SETTLE;
        };
        let doubled = self.in_row.saturating_sub(FREE + 1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doubled).min(LAST_PAUSE);
        pause
            .saturating_sub(now.saturating_duration_since(last))
            .max(SETTLE)
    }

    fn is_lately(&self, now: Instant) -> bool {
        let lately = |last| now.saturating_duration_since(last) < QUIET;
        self.last.is_some_and(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_put_right_at_once_and_a_fight_ever_more_seldom() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..FREE {
            assert_eq!(pace.pause(now), SETTLE);
            pace.repaired(now);
            assert!(!pace.is_contended(now));
        }
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pace.repaired(now);
            assert!(pace.is_contended(now));
            pauses.push(pace.pause(now).as_millis());
            now += pace.pause(now);
            assert_eq!(pace.pause(now), SETTLE, "what has been waited for counts");
        }
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(pauses, expected);
        now += QUIET;
        assert!(!pace.is_contended(now));
        pace.repaired(now);
        assert_eq!((pace.is_contended(now), pace.pause(now)), (false, SETTLE));
    }
}
