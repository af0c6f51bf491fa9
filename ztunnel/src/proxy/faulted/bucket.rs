//! A token bucket.
//!
//! Invariant: in any span of time it gives no more than what the rate makes of that span, and once the burst.

use std::time::{Duration, Instant};

/// The burst is what the rate makes of a tenth of a second.
const TENTHS: u64 = 10;
/// But at least so many bytes, so that a message goes through whole.
const LEAST: u64 = 1024;

/// Bytes that may go through now, of so many a second.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    burst: u64,
    tokens: u64,
    /// Up to when tokens were given.
    filled: Instant,
}

impl Bucket {
    /// A full one, for at least one byte a second.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        let rate = rate.max(1);
        let burst = (rate / TENTHS).max(LEAST);
        Self {
            rate,
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// Takes what may go through of `wanted` bytes.
    pub(super) fn take(&mut self, wanted: u64, now: Instant) -> u64 {
        self.fill(now);
        let taken = wanted.min(self.tokens);
        self.tokens -= taken;
        taken
    }

    /// What was taken and did not go through.
    pub(super) fn give_back(&mut self, unused: u64) {
        self.tokens = (self.tokens + unused).min(self.burst);
    }

    /// When it is worth to ask again for `wanted` bytes: not for each byte.
    pub(super) fn ready_at(&self, wanted: u64) -> Instant {
        let wanted = wanted.clamp(1, (self.burst / 2).max(1));
        let missing = wanted.saturating_sub(self.tokens);
        self.filled + self.time_for(missing)
    }

    /// How long it takes to make so many, rounded up.
    fn time_for(&self, tokens: u64) -> Duration {
        let nanos = (u128::from(tokens) * 1_000_000_000).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_nanos();
        let made = since * u128::from(self.rate) / 1_000_000_000;
        let made = u64::try_from(made).unwrap_or(u64::MAX);
        if self.tokens.saturating_add(made) >= self.burst {
            (self.tokens, self.filled) = (self.burst, now);
        } else if made > 0 {
            self.tokens += made;
            // Only the time of whole tokens is used up; rounded up, so that none is made of the same time twice.
            self.filled += self.time_for(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_messages_below_the_rate_do_not_wait() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10_000, start);
        for round in 0..100 {
            let now = start + Duration::from_millis(100) * round;
            assert_eq!(bucket.take(900, now), 900, "round {round}");
        }
    }

    #[test]
    fn who_waits_until_it_is_ready_gets_something() {
        let start = Instant::now();
        for rate in [1, 7, 1000, 1_000_000_007, u64::MAX] {
            let mut bucket = Bucket::new(rate, start);
            bucket.take(u64::MAX, start);
            for wanted in [1, 100, 1_000_000] {
                let at = bucket.ready_at(wanted);
                assert!(bucket.take(wanted, at) > 0, "{rate} {wanted}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst(
            rate in 1u64..100_000_000,
            steps in proptest::collection::vec((0u64..2_000_000_000, 0u64..1_000_000, 0u64..3), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, start);
            let burst = bucket.burst;
            // Of every span that begins at a step: when, and how much went through since.
            let mut spans: Vec<(Instant, u64)> = Vec::new();
            let mut now = start;
            for (nanos, wanted, back) in steps {
                now += Duration::from_nanos(nanos);
                let taken = bucket.take(wanted, now);
                let unused = taken * back / 4;
                bucket.give_back(unused);
                spans.push((now, 0));
                for (since, through) in &mut spans {
                    *through += taken - unused;
                    let span = now.duration_since(*since).as_nanos();
                    let most = u128::from(burst) + span * u128::from(rate) / 1_000_000_000 + 1;
                    prop_assert!(u128::from(*through) <= most, "{through} of {most}");
                }
            }
        }
    }
}
