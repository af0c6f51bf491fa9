//! Choosing: one of weighted backends, one of a service's endpoints.
//!
//! Invariant: a choice is a function of the weights or loads and of the random numbers alone; each backend's share is
//! exactly its weight's, without a bias of rounding.

use std::time::Duration;

use rand::Rng;

use crate::config::traffic::Balancer;

/// Picks an index by weight; nothing if all weights are zero.
pub fn weighted(weights: impl Iterator<Item = u32> + Clone, rng: &mut impl Rng) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if total == 0 {
        return None;
    }
    let mut left = rng.random_range(0..total);
    for (index, weight) in weights.enumerate() {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

/// What of an endpoint its choice depends on.
pub trait Load {
    /// Requests in flight.
    fn active(&self) -> u32;
    /// Expected wait for one more request, in nanoseconds.
    fn cost(&self) -> f64;
}

/// Picks one of `candidates`, leaving out those that `tried` names unless there is no other. `turn` counts the picks.
pub fn endpoint<L: Load>(
    balancer: Balancer,
    candidates: &[L],
    tried: &[usize],
    turn: usize,
    rng: &mut impl Rng,
) -> Option<usize> {
    let fresh = candidates.len().checked_sub(tried.len())?;
    if fresh == 0 || tried.is_empty() {
        return among(balancer, candidates, candidates.len(), turn, rng, |nth| nth);
    }
    // The nth candidate that was not tried: both lists are short when this matters.
    let untried = |nth: usize| {
        (0..candidates.len())
            .filter(|index| !tried.contains(index))
            .nth(nth)
            .unwrap_or(0)
    };
    among(balancer, candidates, fresh, turn, rng, untried)
}

fn among<L: Load>(
    balancer: Balancer,
    candidates: &[L],
    count: usize,
    turn: usize,
    rng: &mut impl Rng,
    index: impl Fn(usize) -> usize,
) -> Option<usize> {
    if count <= 1 {
        return (count == 1).then(|| index(0));
    }
    let nth = match balancer {
        Balancer::RoundRobin => return Some(index(turn % count)),
        Balancer::Random => return Some(index(rng.random_range(0..count))),
        Balancer::LeastRequest | Balancer::PeakEwma => rng.random_range(0..count),
    };
    // Two different ones.
    let other = (nth + rng.random_range(1..count)) % count;
    let (first, second) = (index(nth), index(other));
    let (Some(a), Some(b)) = (candidates.get(first), candidates.get(second)) else {
        return None;
    };
    let second_is_better = match balancer {
        Balancer::PeakEwma => b.cost() < a.cost(),
        _ => b.active() < a.active(),
    };
    Some(if second_is_better { second } else { first })
}

/// A moving average of response times that jumps to peaks and decays with time.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    nanos: f64,
}

impl Default for PeakEwma {
    fn default() -> Self {
        // What an endpoint is taken for before it has answered: new ones get traffic, but not all of it.
        Self {
            nanos: 30_000_000.0,
        }
    }
}

impl PeakEwma {
    /// Takes a response time, `since` after the one before.
    pub fn observe(&mut self, took: Duration, since: Duration) {
        const DECAY_SECONDS: f64 = 10.0;
        let took = took.as_secs_f64() * 1e9;
        if took > self.nanos {
            self.nanos = took;
        } else {
            let kept = (-since.as_secs_f64() / DECAY_SECONDS).exp();
            self.nanos = self.nanos * kept + took * (1.0 - kept);
        }
    }

    /// The expected wait behind `active` requests.
    pub fn cost(&self, active: u32) -> f64 {
        self.nanos * (f64::from(active) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    struct Fixed(u32);

    impl Load for Fixed {
        fn active(&self) -> u32 {
            self.0
        }
        fn cost(&self) -> f64 {
            f64::from(self.0)
        }
    }

    const ALL: [Balancer; 4] = [
        Balancer::LeastRequest,
        Balancer::PeakEwma,
        Balancer::RoundRobin,
        Balancer::Random,
    ];

    #[test]
    fn zero_weights_get_nothing() {
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(weighted([0, 0].into_iter(), &mut rng), None);
        assert_eq!(weighted([].into_iter(), &mut rng), None);
        for _ in 0..1000 {
            assert_eq!(weighted([0, 3, 0].into_iter(), &mut rng), Some(1));
        }
    }

    #[test]
    fn round_robin_takes_turns() {
        let candidates = [Fixed(0), Fixed(9), Fixed(0)];
        let mut rng = SmallRng::seed_from_u64(1);
        let turns: Vec<_> = (0..6)
            .filter_map(|turn| endpoint(Balancer::RoundRobin, &candidates, &[], turn, &mut rng))
            .collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_busiest_of_many_is_avoided() {
        let candidates = [Fixed(100), Fixed(1), Fixed(1)];
        let mut rng = SmallRng::seed_from_u64(1);
        for balancer in [Balancer::LeastRequest, Balancer::PeakEwma] {
            for _ in 0..1000 {
                assert_ne!(
                    endpoint(balancer, &candidates, &[], 0, &mut rng),
                    Some(0),
                    "two are always compared"
                );
            }
        }
    }

    #[test]
    fn peaks_count_at_once_and_fade() {
        let mut ewma = PeakEwma::default();
        ewma.observe(Duration::from_secs(1), Duration::ZERO);
        assert!((ewma.cost(0) - 1e9).abs() < 1.0);
        ewma.observe(Duration::from_millis(1), Duration::from_secs(10));
        assert!(ewma.cost(0) < 4e8 && ewma.cost(0) > 3e8);
        assert!(ewma.cost(3) > 3.9 * ewma.cost(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn shares_follow_weights(seed: u64, weights in proptest::collection::vec(0u32..100, 1..5)) {
            let total: u32 = weights.iter().sum();
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut hits = vec![0u32; weights.len()];
            for _ in 0..10_000 {
                match weighted(weights.iter().copied(), &mut rng) {
                    Some(index) => hits[index] += 1,
                    None => prop_assert_eq!(total, 0),
                }
            }
            for (hits, weight) in hits.iter().zip(&weights).filter(|_| total > 0) {
                let expected = 10_000.0 * f64::from(*weight) / f64::from(total);
                // Six standard deviations of the widest binomial.
                prop_assert!((f64::from(*hits) - expected).abs() <= 300.0);
            }
        }

        #[test]
        fn what_was_tried_is_left_out_while_there_is_another(
            seed: u64, loads in proptest::collection::vec(0u32..5, 1..6), tried in proptest::collection::btree_set(0usize..6, 0..6),
            turn in 0usize..10,
        ) {
            let candidates: Vec<_> = loads.into_iter().map(Fixed).collect();
            let tried: Vec<_> = tried.into_iter().filter(|index| *index < candidates.len()).collect();
            let mut rng = SmallRng::seed_from_u64(seed);
            for balancer in ALL {
                let picked = endpoint(balancer, &candidates, &tried, turn, &mut rng).unwrap();
                prop_assert!(picked < candidates.len());
                prop_assert!(tried.len() == candidates.len() || !tried.contains(&picked));
            }
        }
    }
}
