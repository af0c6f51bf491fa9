//! Median and spread of a figure's rounds, and intervals by the bootstrap.
//!
//! Rounds are what is drawn again, whole and with all their subjects, since a round's figures share what disturbed it.
//! With five rounds the interval of a ratio is about the least and the greatest of them, which is as much as so few rounds
//! can say. The random numbers are always the same ones, so that a run's file says the same whenever it is read.

use serde::{Deserialize, Serialize};

/// Median, least and greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

/// An estimate with its interval of 95 percent; an end that is missing is without bound.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) lower: Option<f64>,
    pub(crate) upper: Option<f64>,
}

const RESAMPLES: usize = 2000;
/// Of the resamples, on either side.
const TAIL: usize = RESAMPLES / 40;

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (
            sorted.get((sorted.len() - 1) / 2)?,
            sorted.get(sorted.len() / 2)?,
        );
        Some(Self {
            median: f64::midpoint(*low, *high),
            min,
            max,
        })
    }
}

/// Of no value, no number.
pub(crate) fn median(values: &[f64]) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

/// Estimates what `statistic` makes of `rounds` rounds, given which of them to use. None where it makes nothing of all.
pub(crate) fn bootstrap(rounds: usize, statistic: impl Fn(&[usize]) -> f64) -> Option<Estimate> {
    let all: Vec<usize> = (0..rounds).collect();
    resampled(statistic(&all), rounds < 2, |random| {
        let drawn: Vec<usize> = (0..rounds).map(|_| random.below(rounds)).collect();
        statistic(&drawn)
    })
}

fn resampled(value: f64, few: bool, again: impl Fn(&mut Random) -> f64) -> Option<Estimate> {
    if !value.is_finite() {
        return None;
    }
    if few {
        let (lower, upper) = (None, None);
        return Some(Estimate {
            value,
            lower,
            upper,
        });
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| match again(&mut random) {
            // A ratio to nothing is without bound, on the side that does not flatter.
            value if value.is_nan() => f64::INFINITY,
            value => value,
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let end = |index: usize| values.get(index).copied().filter(|value| value.is_finite());
    Some(Estimate {
        value,
        lower: end(TAIL),
        upper: end(RESAMPLES - 1 - TAIL),
    })
}

/// Estimates what `statistic` makes of two medians whose rounds have nothing to do with each other, as those of two runs.
pub(crate) fn independent(
    ours: &[f64],
    theirs: &[f64],
    statistic: impl Fn(f64, f64) -> f64,
) -> Option<Estimate> {
    let value = statistic(median(ours), median(theirs));
    let few = ours.len().min(theirs.len()) < 2;
    resampled(value, few, |random| {
        let mut again = |values: &[f64]| {
            let rounds: Vec<usize> = values.iter().map(|_| random.below(values.len())).collect();
            median(&drawn(values, &rounds))
        };
        let (ours, theirs) = (again(ours), again(theirs));
        statistic(ours, theirs)
    })
}

/// The values of the rounds that were drawn.
pub(crate) fn drawn(values: &[f64], rounds: &[usize]) -> Vec<f64> {
    rounds
        .iter()
        .filter_map(|i| values.get(*i).copied())
        .collect()
}

/// Xorshift: even enough to draw rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_even_and_empty() {
        assert_eq!(
            Spread::of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            })
        );
        assert_eq!(Spread::of(&[4.0, 1.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    fn ratio(ours: &[f64], theirs: &[f64]) -> Estimate {
        let statistic =
            |rounds: &[usize]| median(&drawn(ours, rounds)) / median(&drawn(theirs, rounds));
        bootstrap(ours.len(), statistic).unwrap()
    }

    #[test]
    fn steady_rounds_give_a_narrow_interval_and_shaky_ones_a_wide_one() {
        let steady = ratio(&[1.0, 1.01, 0.99, 1.0, 1.02], &[2.0, 2.02, 1.98, 2.0, 2.01]);
        assert!((steady.value - 0.5).abs() < 0.001, "{steady:?}");
        assert!(
            steady.upper.unwrap() < 0.52 && steady.lower.unwrap() > 0.48,
            "{steady:?}"
        );
        let shaky = ratio(&[1.0, 3.0, 0.5, 2.0, 1.0], &[2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(shaky.upper, Some(1.5), "the greatest of five");
        assert_eq!(shaky.lower, Some(0.25), "the least of five");
    }

    #[test]
    fn one_round_has_no_interval_and_a_ratio_to_nothing_no_end() {
        assert_eq!(ratio(&[1.0], &[2.0]).upper, None);
        assert_eq!(ratio(&[1.0, 1.0, 1.0], &[2.0, 0.0, 2.0]).upper, None);
        assert_eq!(bootstrap(0, |_| f64::NAN), None);
    }
}
