//! Bounds hold for all parameters, and the shapes are what they are called.

use proptest::prelude::*;

use super::*;

const MILLI: Duration = Duration::from_millis(1);

/// Numbers from 0 to 1, alike and the same each time.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what there are")]
        let number = (state >> 11) as f64;
        number / 9_007_199_254_740_992.0
    }
}

fn mean(delay: Delay) -> f64 {
    let mut uniform = uniform(42);
    let sum: Duration = (0..20_000).map(|_| delay.draw(&mut uniform)).sum();
    sum.as_secs_f64() * 1000.0 / 20_000.0
}

#[test]
fn shares_of_none_and_all_are_exact() {
    let (none, all) = (Share::new(0).unwrap(), Share::ALL);
    let almost = 1.0 - f64::EPSILON / 2.0;
    assert!(!none.strikes(0.0) && all.strikes(almost));
    assert!(Share::new(1).unwrap().strikes(0.000_099) && !Share::new(1).unwrap().strikes(0.0001));
    assert_eq!(Share::new(10_001), None);
}

#[test]
fn means_are_those_of_the_distributions() {
    let near = |delay, expected: f64| {
        let mean = mean(delay);
        assert!(
            (mean - expected).abs() < expected / 50.0,
            "{delay:?}: {mean}"
        );
    };
    near(Delay::Fixed(MILLI * 7), 7.0);
    near(
        Delay::Uniform {
            min: MILLI * 50,
            max: MILLI * 150,
        },
        100.0,
    );
    let std_dev = MILLI * 20;
    near(
        Delay::Normal {
            mean: MILLI * 100,
            std_dev,
            max: MILLI * 200,
        },
        100.0,
    );
    // Half a bell, from its middle on: the mean is that plus the deviation times the root of 2/pi.
    near(
        Delay::Normal {
            mean: Duration::ZERO,
            std_dev,
            max: MILLI * 1000,
        },
        15.96,
    );
    near(
        Delay::Exponential {
            mean: MILLI * 100,
            max: MILLI * 5000,
        },
        100.0,
    );
    // Cut at its mean: 1 - 1 / (e - 1) of that.
    near(
        Delay::Exponential {
            mean: MILLI * 100,
            max: MILLI * 100,
        },
        41.80,
    );
    // So wide that it is flat.
    near(
        Delay::Normal {
            mean: MILLI * 5,
            std_dev: MAX_DELAY,
            max: MILLI * 10,
        },
        5.0,
    );
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let refused = |delay: Delay| delay.check().unwrap_err();
    let hour = MAX_DELAY;
    assert_eq!(
        refused(Delay::Fixed(hour + MILLI)),
        ("fixed", "is more than 1 h")
    );
    assert_eq!(
        refused(Delay::Uniform {
            min: hour,
            max: MILLI
        }),
        ("uniform.min", "is more than max")
    );
    assert_eq!(
        refused(Delay::Normal {
            mean: hour,
            std_dev: hour,
            max: MILLI
        }),
        ("normal.mean", "is more than max")
    );
    assert_eq!(
        refused(Delay::Exponential {
            mean: Duration::ZERO,
            max: MILLI
        }),
        ("exponential.mean", "is zero")
    );
    assert_eq!(
        refused(Delay::Exponential {
            mean: MILLI,
            max: hour * 2
        }),
        ("exponential.max", "is more than 1 h")
    );
    assert_eq!(
        Delay::Uniform {
            min: MILLI,
            max: hour
        }
        .check(),
        Ok(())
    );
}

#[test]
fn a_wrong_clock_makes_a_term_shorter_never_longer() {
    let (clock, now) = (SystemTime::UNIX_EPOCH + MAX_DELAY * 100, Instant::now());
    let (lasts, minute) = (Duration::from_secs(300), Duration::from_secs(60));
    let not_after = clock + minute;
    let of = |clock| Term::new(not_after, lasts, (clock, now));
    assert_eq!(of(clock).left(now), Some(minute));
    assert_eq!(
        of(clock - MAX_DELAY).left(now),
        Some(lasts),
        "a clock that is late"
    );
    assert_eq!(
        of(clock + MAX_DELAY).left(now),
        None,
        "a clock that is early"
    );
    assert_eq!(of(clock).left(now + minute), None);
    // Told again later, by a clock that was set back meanwhile.
    let later = (clock - MAX_DELAY, now + minute / 2);
    let again = Term::new(not_after, lasts, later);
    assert_eq!(again.following(Some(of(clock))).until(), now + minute);
    let moved = Term::new(not_after + minute, lasts, (clock, now));
    assert_eq!(moved.following(Some(of(clock))).left(now), Some(minute * 2));
}

proptest! {
    #[test]
    fn no_delay_is_outside_its_bounds(seed: u64, a in 0u64..3_600_000, b in 1u64..3_600_000, c in 0u64..10_000_000) {
        let (low, high) = (MILLI * a.min(b) as u32, MILLI * a.max(b) as u32);
        let mean = low.max(MILLI);
        let delays = [
            (Delay::Uniform { min: low, max: high }, low),
            (Delay::Normal { mean: low, std_dev: Duration::from_millis(c), max: high }, Duration::ZERO),
            (Delay::Exponential { mean, max: high }, Duration::ZERO),
        ];
        let mut uniform = uniform(seed);
        for (delay, least) in delays {
            prop_assert_eq!(delay.check(), Ok(()));
            for _ in 0..50 {
                let drawn = delay.draw(&mut uniform);
                prop_assert!(least <= drawn && drawn <= high, "{:?}: {:?}", delay, drawn);
            }
        }
        // The ends of what chance gives.
        for extreme in [0.0, 1.0 - f64::EPSILON / 2.0] {
            for (delay, _) in delays {
                prop_assert!(delay.draw(|| extreme) <= high);
            }
        }
    }
}
