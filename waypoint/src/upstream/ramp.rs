//! How an endpoint that is new, or that comes back, grows into its share.
//!
//! Invariant: the share never shrinks while time passes, and is whole at the end.

use std::time::Duration;

/// From a part of the share to the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// How long it takes.
    pub duration: Duration,
    /// The part at the beginning, above 0.
    pub minimum: f32,
    /// 1 is a straight line; more is faster at first.
    pub aggression: f32,
}

impl Ramp {
    /// The part of its share that an endpoint takes after this time.
    pub fn share(&self, elapsed: Duration) -> f32 {
        if elapsed >= self.duration {
            return 1.0;
        }
        let part = elapsed.as_secs_f32() / self.duration.as_secs_f32();
        part.powf(1.0 / self.aggression).clamp(self.minimum, 1.0)
    }

    /// How long a share may be taken for the same.
    pub fn step(&self) -> Duration {
        (self.duration / 100).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_straight_line_starts_at_the_minimum_and_a_steep_one_is_above_it() {
        let ramp = |aggression| Ramp {
            duration: Duration::from_secs(10),
            minimum: 0.1,
            aggression,
        };
        let at = |ramp: Ramp, seconds| ramp.share(Duration::from_secs(seconds));
        assert_eq!(at(ramp(1.0), 0), 0.1);
        assert!((at(ramp(1.0), 5) - 0.5).abs() < 1e-6);
        assert!((at(ramp(2.0), 5) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert_eq!(at(ramp(1.0), 10), 1.0);
        let none = Ramp {
            duration: Duration::ZERO,
            ..ramp(1.0)
        };
        assert_eq!(at(none, 0), 1.0);
    }

    proptest! {
        #[test]
        fn never_shrinks(
            duration in 1u64..100_000, minimum in 0.01f32..1.0, aggression in 0.1f32..10.0,
            mut at in proptest::collection::vec(0u64..200_000, 2),
        ) {
            at.sort_unstable();
            let ramp = Ramp { duration: Duration::from_millis(duration), minimum, aggression };
            let shares: Vec<_> = at.iter().map(|at| ramp.share(Duration::from_millis(*at))).collect();
            prop_assert!(shares[0] <= shares[1]);
            prop_assert!(shares[0] >= minimum && shares[1] <= 1.0);
        }
    }
}
