//! Binomial bounds: between which counts a fair share of requests must lie.

use std::ops::RangeInclusive;

/// The chance that a right share falls below or above its bounds.
const ERROR: f64 = 1e-7;

/// The counts between which `trials` of probability `p` lie, but for a chance of one in ten million at either end.
pub(crate) fn binomial_bounds(trials: u32, p: f64) -> RangeInclusive<u32> {
    let mut low = 0;
    let mut high = trials;
    let mut below = 0.0;
    for (count, probability) in (0..=trials).zip(probabilities(trials, p)) {
        below += probability;
        if below < ERROR {
            low = count + 1;
        }
        if below >= 1.0 - ERROR {
            high = count;
            break;
        }
    }
    low..=high
}

/// The probability of each count from 0 on, by way of logarithms, which do not underflow.
fn probabilities(trials: u32, p: f64) -> impl Iterator<Item = f64> {
    let mut logarithm = f64::from(trials) * (1.0 - p).ln();
    (0..=trials).map(move |count| {
        if count > 0 {
            logarithm +=
                (f64::from(trials - count + 1) / f64::from(count)).ln() + (p / (1.0 - p)).ln();
        }
        logarithm.exp()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up() {
        let sum: f64 = probabilities(2000, 0.5).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn bounds_hold_the_mean_and_leave_out_what_is_far_off() {
        let bounds = binomial_bounds(1000, 0.1);
        assert!(
            bounds.contains(&100) && bounds.contains(&60) && bounds.contains(&145),
            "{bounds:?}"
        );
        assert!(
            !bounds.contains(&45) && !bounds.contains(&160) && !bounds.contains(&500),
            "{bounds:?}"
        );
    }

    #[test]
    fn a_coin_is_symmetric() {
        let bounds = binomial_bounds(100, 0.5);
        assert_eq!(bounds.start() + bounds.end(), 100);
    }
}
