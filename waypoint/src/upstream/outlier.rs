//! Which endpoints of a service do worse than the others, by numbers alone.
//!
//! Invariant: an endpoint is only compared with what others did in the same interval, and only where enough of them did
//! enough.

use crate::config::resilience::{SlowEndpoints, SuccessRate};

/// What an endpoint did in one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Requests that ended.
    pub total: u32,
    /// Those that failed.
    pub failed: u32,
    /// Nanoseconds until an answer, as a moving average over intervals; none before the first answer.
    pub latency: Option<f64>,
}

/// Who succeeds less often than the mean by more than so many standard deviations: their indices.
pub fn failing(intervals: &[Interval], settings: &SuccessRate) -> Vec<usize> {
    let rates: Vec<(usize, f64)> = intervals
        .iter()
        .enumerate()
        .filter(|(_, interval)| interval.total >= settings.volume)
        .map(|(index, interval)| {
            (
                index,
                1.0 - f64::from(interval.failed) / f64::from(interval.total),
            )
        })
        .collect();
    if rates.len() < settings.hosts {
        return Vec::new();
    }
    let count = float(rates.len());
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates
        .iter()
        .map(|(_, rate)| (rate - mean).powi(2))
        .sum::<f64>()
        / count;
    let least = mean - settings.stdev_factor * variance.sqrt();
    let low = rates.into_iter().filter(|(_, rate)| *rate < least);
    low.map(|(index, _)| index).collect()
}

/// Who takes longer than so many times the median of the others: their indices.
pub fn slow(intervals: &[Interval], settings: &SlowEndpoints) -> Vec<usize> {
    let mut sorted: Vec<(f64, usize)> = intervals
        .iter()
        .enumerate()
        .filter(|(_, interval)| interval.total >= settings.volume)
        .filter_map(|(index, interval)| Some((interval.latency?, index)))
        .collect();
    if sorted.len() < settings.hosts.max(2) {
        return Vec::new();
    }
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let threshold = settings.threshold.as_secs_f64() * 1e9;
    let is_slow = |(place, (latency, index)): (usize, &(f64, usize))| {
        let others = median_without(&sorted, place);
        (*latency > settings.factor * others && *latency > threshold).then_some(*index)
    };
    sorted.iter().enumerate().filter_map(is_slow).collect()
}

/// The median of all but the one at `place`.
fn median_without(sorted: &[(f64, usize)], place: usize) -> f64 {
    let others = sorted.len() - 1;
    let at = |nth: usize| {
        let index = if nth < place { nth } else { nth + 1 };
        sorted.get(index).map_or(0.0, |(latency, _)| *latency)
    };
    f64::midpoint(at(others.saturating_sub(1) / 2), at(others / 2))
}

/// How many of `size` endpoints may be left out: a share, but one of several.
pub fn allowed(size: usize, percent: u32) -> usize {
    let share = size * usize::try_from(percent).unwrap_or(100) / 100;
    share.max(usize::from(size > 1 && percent > 0))
}

#[expect(clippy::cast_precision_loss, reason = "a count of endpoints")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
