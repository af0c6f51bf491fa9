//! Latencies of many requests, to be pooled over rounds.
//!
//! Invariant: a quantile of a pool is that of all its requests, never a mean of quantiles. Values are nanoseconds, kept
//! to less than one percent.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A minute: a request that takes longer counts as this.
const MOST: u64 = 60_000_000_000;
const DIGITS: u8 = 2;

/// A histogram; in files, pairs of a value and how often it occurred.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(MOST);
        self.0.saturating_record(nanoseconds.max(1));
    }

    /// Takes over what another one holds.
    pub(crate) fn add(&mut self, other: &Self) {
        for (value, count) in other.pairs() {
            self.0.saturating_record_n(value, count);
        }
    }

    /// In microseconds; 0 where nothing was recorded.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl Default for Latency {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MOST, DIGITS).expect("bounds in order"))
    }
}

impl From<Vec<(u64, u64)>> for Latency {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latency = Self::default();
        for (value, count) in pairs {
            latency.0.saturating_record_n(value, count);
        }
        latency
    }
}

impl From<Latency> for Vec<(u64, u64)> {
    fn from(latency: Latency) -> Self {
        latency.pairs().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooled_means_of_all_requests() {
        let mut pool = Latency::default();
        for microseconds in 1..=99 {
            pool.record(Duration::from_micros(microseconds));
        }
        let mut slow = Latency::default();
        slow.record(Duration::from_secs(100));
        pool.add(&slow);
        assert!((pool.quantile(0.5) - 50.0).abs() < 0.5);
        assert!(pool.quantile(1.0) >= 59e6, "kept as a minute");
        let text = serde_json::to_string(&pool).unwrap();
        let back: Latency = serde_json::from_str(&text).unwrap();
        assert!((back.quantile(0.99) - pool.quantile(0.99)).abs() < 1.0);
    }
}
