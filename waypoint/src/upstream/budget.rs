//! Bounds that all requests of a service share, over all data cores: the retry budget and the number of requests.
//!
//! Invariant: no lock. A retry is counted before it is allowed and taken back if it may not be, so that cores that
//! race never exceed the budget together.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::config::traffic::BudgetSettings;

/// Parts of the interval; counts are forgotten part by part.
const SLOTS: u64 = 10;

/// Retries may be a share of the requests of the last interval, and a number each second besides.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    start: Instant,
    slots: [Slot; SLOTS as usize],
}

/// Counts of one part of the interval. Each word holds the part's number above and a count below.
#[derive(Debug, Default)]
struct Slot {
    requests: AtomicU64,
    retries: AtomicU64,
}

impl Budget {
    /// An unused budget.
    pub fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            start: Instant::now(),
            slots: Default::default(),
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> BudgetSettings {
        self.settings
    }

    /// Counts a request.
    pub fn deposit(&self) {
        self.deposit_at(self.tick());
    }

    /// Whether one more retry fits; if so it is counted.
    pub fn withdraw(&self) -> bool {
        self.withdraw_at(self.tick())
    }

    /// The number of the part of the interval that it is now, from 1.
    fn tick(&self) -> u64 {
        let part = (self.settings.interval.as_millis() / u128::from(SLOTS)).max(1);
        u64::try_from(self.start.elapsed().as_millis() / part).unwrap_or(u64::MAX) + 1
    }

    fn deposit_at(&self, tick: u64) {
        count(&self.slot(tick).requests, tick, 1);
    }

    fn withdraw_at(&self, tick: u64) -> bool {
        let retries = &self.slot(tick).retries;
        count(retries, tick, 1);
        let (requests, with_this) = self.sums(tick);
        let share = requests * u64::from(self.settings.percent) / 100;
        let fits = with_this <= self.always().saturating_add(share);
        if !fits {
            count(retries, tick, -1);
        }
        fits
    }

    /// Retries of one interval that fit whatever the number of requests. A part of one counts as a whole one.
    fn always(&self) -> u64 {
        let BudgetSettings {
            min,
            min_interval,
            interval,
            ..
        } = self.settings;
        let all = u128::from(min) * interval.as_millis();
        u64::try_from(all.div_ceil(min_interval.as_millis().max(1))).unwrap_or(u64::MAX)
    }

    fn slot(&self, tick: u64) -> &Slot {
        let [first, ..] = &self.slots;
        usize::try_from(tick % SLOTS)
            .ok()
            .and_then(|index| self.slots.get(index))
            .unwrap_or(first)
    }

    /// Requests and retries of the parts that are still inside the interval.
    fn sums(&self, tick: u64) -> (u64, u64) {
        let read = |word: &AtomicU64| {
            let word = word.load(Ordering::Acquire);
            if (word >> 32) + SLOTS > tick & u64::from(u32::MAX) {
                word & u64::from(u32::MAX)
            } else {
                0
            }
        };
        self.slots.iter().fold((0, 0), |(requests, retries), slot| {
            (
                requests + read(&slot.requests),
                retries + read(&slot.retries),
            )
        })
    }
}

/// Adds to the count of `tick`, after dropping an older one.
fn count(word: &AtomicU64, tick: u64, by: i64) {
    let tick = tick & u64::from(u32::MAX);
    let update = |word: u64| {
        let kept = if word >> 32 == tick {
            word & u64::from(u32::MAX)
        } else {
            0
        };
        let count = kept.saturating_add_signed(by).min(u64::from(u32::MAX));
        Some(tick << 32 | count)
    };
    // The closure always returns a value, so the update can't fail.
    let _previous = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
}

/// A bound of requests at once.
#[derive(Debug)]
pub struct Admission {
    limit: u32,
    active: AtomicU32,
}

impl Admission {
    /// Nothing active.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            active: AtomicU32::new(0),
        }
    }

    /// The bound.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes a place, to be given back by [`Admission::leave`].
    pub fn enter(&self) -> bool {
        let fits = self.active.fetch_add(1, Ordering::AcqRel) < self.limit;
        if !fits {
            self.leave();
        }
        fits
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn budget(percent: u32, min_per_second: u32, seconds: u64) -> Budget {
        Budget::new(BudgetSettings {
            percent,
            min: min_per_second,
            interval: Duration::from_secs(seconds),
            ..BudgetSettings::default()
        })
    }

    #[test]
    fn a_minimum_over_a_longer_time_is_a_part_of_it() {
        let allowed = |min, seconds| {
            let budget = Budget::new(BudgetSettings {
                percent: 0,
                min,
                min_interval: Duration::from_secs(seconds),
                ..BudgetSettings::default()
            });
            (0..100).filter(|_| budget.withdraw_at(1)).count()
        };
        assert_eq!(allowed(12, 60), 2);
        assert_eq!(allowed(3, 60), 1, "half of one is one");
        assert_eq!(allowed(0, 60), 0);
    }

    #[test]
    fn share_of_requests_and_minimum_add_up() {
        let budget = budget(20, 1, 10);
        for _ in 0..100 {
            budget.deposit_at(1);
        }
        let allowed = (0..100).filter(|_| budget.withdraw_at(1)).count();
        assert_eq!(allowed, 20 + 10);
    }

    #[test]
    fn counts_leave_with_their_part_of_the_interval() {
        let budget = budget(50, 0, 10);
        for _ in 0..10 {
            budget.deposit_at(1);
        }
        assert_eq!(
            (0..10).filter(|_| budget.withdraw_at(10)).count(),
            5,
            "still inside"
        );
        assert!(!budget.withdraw_at(11), "the requests have left");
        budget.deposit_at(21);
        budget.deposit_at(21);
        assert!(budget.withdraw_at(21), "the retries have left as well");
        assert!(!budget.withdraw_at(21));
    }

    #[test]
    fn threads_never_exceed_it_together() {
        let budget = budget(0, 10, 10);
        let allowed: usize = std::thread::scope(|scope| {
            let tries = || (0..1000).filter(|_| budget.withdraw_at(5)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(tries)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!(allowed <= 100, "{allowed}");
        assert!(
            allowed >= 90,
            "racing withdrawals may turn each other away, but few: {allowed}"
        );
    }

    #[test]
    fn admission_counts_places() {
        let admission = Admission::new(2);
        assert!(admission.enter() && admission.enter() && !admission.enter());
        admission.leave();
        assert!(admission.enter() && !admission.enter());
    }

    proptest! {
        #[test]
        fn never_more_than_the_window_allows(
            percent in 0u32..=100, min in 0u32..5, steps in proptest::collection::vec((0u64..4, any::<bool>()), 0..300),
        ) {
            let budget = budget(percent, min, 10);
            let (mut tick, mut requests, mut retries) = (1, Vec::new(), Vec::new());
            for (pause, is_request) in steps {
                tick += pause;
                let inside = |ticks: &[u64]| ticks.iter().filter(|at| *at + SLOTS > tick).count() as u64;
                if is_request {
                    budget.deposit_at(tick);
                    requests.push(tick);
                } else {
                    let allowed = budget.withdraw_at(tick);
                    let limit = u64::from(min) * 10 + inside(&requests) * u64::from(percent) / 100;
                    prop_assert_eq!(allowed, inside(&retries) < limit);
                    if allowed {
                        retries.push(tick);
                    }
                }
            }
        }
    }
}
