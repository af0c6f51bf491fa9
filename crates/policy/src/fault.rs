//! The arithmetic of faults: which share is struck, how long a delay is, and when a policy is over.
//!
//! Invariants: a share of none strikes nothing and a share of all strikes everything; a delay is never longer than the
//! longest that was stated; a policy with a term is over at the latest when its duration has gone by since it was first
//! seen, whatever the clock says. Chance and time are given, never taken.

use std::time::{Duration, Instant, SystemTime};

/// The longest delay.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);
/// Draws of a normal distribution until one falls between its bounds.
const DRAWS: usize = 32;

/// So many of ten thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// At most ten thousand.
    #[must_use]
    pub fn new(per_ten_thousand: u32) -> Option<Self> {
        (per_ten_thousand <= Self::ALL.0).then_some(Self(per_ten_thousand))
    }

    /// Whether this one is struck. `uniform` is at least 0 and below 1.
    #[must_use]
    pub fn strikes(self, uniform: f64) -> bool {
        uniform * f64::from(Self::ALL.0) < f64::from(self.0)
    }
}

/// How long a delay is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Anything between the two alike.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Normally distributed, without what is below zero or above `max`.
    Normal {
        /// Of the whole distribution.
        mean: Duration,
        /// Of the whole distribution.
        std_dev: Duration,
        /// The longest.
        max: Duration,
    },
    /// Exponentially distributed, without what is above `max`.
    Exponential {
        /// Of the whole distribution.
        mean: Duration,
        /// The longest.
        max: Duration,
    },
}

impl Delay {
    /// The field at fault and what is wrong with it, if there is no such delay.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let longest = |field, max: Duration| {
            if max > MAX_DELAY {
                return Err((field, "is more than 1 h"));
            }
            Ok(())
        };
        match *self {
            Self::Fixed(fixed) => longest("fixed", fixed),
            Self::Uniform { min, max } if min > max => Err(("uniform.min", "is more than max")),
            Self::Uniform { max, .. } => longest("uniform.max", max),
            Self::Normal { mean, max, .. } if mean > max => {
                Err(("normal.mean", "is more than max"))
            }
            Self::Normal { max, .. } => longest("normal.max", max),
            Self::Exponential { mean, .. } if mean.is_zero() => {
                Err(("exponential.mean", "is zero"))
            }
            Self::Exponential { mean, max } if mean > max => {
                Err(("exponential.mean", "is more than max"))
            }
            Self::Exponential { max, .. } => longest("exponential.max", max),
        }
    }

    /// One delay. Each `uniform` is at least 0 and below 1.
    pub fn draw(&self, mut uniform: impl FnMut() -> f64) -> Duration {
        let (seconds, max) = match *self {
            Self::Fixed(fixed) => return fixed,
            Self::Uniform { min, max } => {
                let width = (max - min.min(max)).as_secs_f64();
                (min.as_secs_f64() + uniform() * width, max)
            }
            Self::Normal { mean, std_dev, max } => {
                let (mean, std_dev, end) =
                    (mean.as_secs_f64(), std_dev.as_secs_f64(), max.as_secs_f64());
                let draws = (0..DRAWS).map(|_| mean + std_dev * normal(&mut uniform));
                let within = draws.into_iter().find(|draw| (0.0..=end).contains(draw));
                // It is so wide that hardly anything falls within: then all within is alike.
                (within.unwrap_or_else(|| uniform() * end), max)
            }
            Self::Exponential { mean, max } => {
                let mean = mean.as_secs_f64();
                let within = 1.0 - (-max.as_secs_f64() / mean).exp();
                (-mean * (1.0 - uniform() * within).ln(), max)
            }
        };
        Duration::try_from_secs_f64(seconds).map_or(max, |delay| delay.min(max))
    }
}

/// Of the standard normal distribution, by the method of Box and Muller.
fn normal(uniform: &mut impl FnMut() -> f64) -> f64 {
    let (radius, angle) = (1.0 - uniform(), uniform());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// How long a policy is in force, seen from one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    not_after: SystemTime,
    until: Instant,
}

impl Term {
    /// Until `not_after`, and no longer than `lasts` from now.
    #[must_use]
    pub fn new(
        not_after: SystemTime,
        lasts: Duration,
        (clock, now): (SystemTime, Instant),
    ) -> Self {
        let left = not_after.duration_since(clock).unwrap_or_default();
        Self {
            not_after,
            until: now + left.min(lasts),
        }
    }

    /// The same, which was seen before.
    #[must_use]
    pub fn following(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.not_after == self.not_after => Self {
                until: self.until.min(before.until),
                ..self
            },
            _ => self,
        }
    }

    /// Until when.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// How much is left, if anything.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests;
