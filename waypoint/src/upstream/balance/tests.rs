//! Every choice is in proportion to what is stated, and goes where there is least to do.

use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::config::resilience::HashKey;
use crate::upstream::tiers::{Loads, Tiers};

struct Fixed(u32);

impl Load for Fixed {
    fn active(&self) -> u32 {
        self.0
    }
    fn cost(&self) -> f64 {
        f64::from(self.0)
    }
}

fn hashing(balance: f32) -> HashPolicy {
    HashPolicy {
        key: HashKey::Source,
        balance,
    }
}

fn all() -> [Balancer; 5] {
    [
        Balancer::LeastRequest,
        Balancer::PeakEwma,
        Balancer::RoundRobin,
        Balancer::Random,
        Balancer::ConsistentHash(Arc::new(hashing(1.25))),
    ]
}

fn by(balancer: &Balancer) -> Choice<'_> {
    Choice {
        balancer,
        tried: &[],
        shares: None,
        turn: 0,
    }
}

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
    let at = |turn| Choice {
        turn,
        ..by(&Balancer::RoundRobin)
    };
    let turns = (0..6).filter_map(|turn| endpoint(&at(turn), &candidates, &mut rng));
    assert_eq!(turns.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_busiest_of_many_is_avoided() {
    let candidates = [Fixed(100), Fixed(1), Fixed(1)];
    let mut rng = SmallRng::seed_from_u64(1);
    for balancer in [Balancer::LeastRequest, Balancer::PeakEwma] {
        for _ in 0..1000 {
            assert_ne!(
                endpoint(&by(&balancer), &candidates, &mut rng),
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

#[test]
fn a_part_of_a_share_is_a_part_of_the_requests() {
    let candidates = [Fixed(0), Fixed(0), Fixed(0), Fixed(0)];
    let shares = Shares::new(vec![1.0, 0.2, 0.0, 1.0]).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    for balancer in all() {
        let mut hits = [0_u32; 4];
        for turn in 0..22_000 {
            let choice = Choice {
                shares: Some(&shares),
                turn,
                ..by(&balancer)
            };
            hits[endpoint(&choice, &candidates, &mut rng).unwrap()] += 1;
        }
        assert_eq!(hits[2], 0, "{balancer:?}");
        assert!((1700..2300).contains(&hits[1]), "{balancer:?}: {hits:?}");
        assert!((9500..10_500).contains(&hits[0]), "{balancer:?}: {hits:?}");
    }
}

#[test]
fn a_small_share_with_as_much_to_do_is_avoided() {
    let candidates = [Fixed(5), Fixed(5)];
    let shares = Shares::new(vec![1.0, 0.2]).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let choice = Choice {
        shares: Some(&shares),
        ..by(&Balancer::LeastRequest)
    };
    let picks = (0..1000).filter_map(|_| endpoint(&choice, &candidates, &mut rng));
    let small = picks.filter(|picked| *picked == 1).count();
    // Only when both of the two at random are the small one: one in 36.
    assert!((5..70).contains(&small), "{small}");
}

/// Three near and one far; the near ones take `near` of all requests.
fn near_and_far(near: f32) -> Shares {
    let zone = [(0, 3), (1, 1)]
        .map(|(tier, count)| vec![Some(tier); count])
        .concat();
    let loads = Loads {
        of: vec![near, 1.0 - near],
        short: false,
    };
    Shares::tiered(vec![1.0; 4], &Tiers::for_tests(&zone), &loads)
}

#[test]
fn the_near_take_all_and_what_is_too_much_goes_on_whatever_they_have_to_do() {
    // The far one has nothing to do at all.
    let candidates = [Fixed(9), Fixed(9), Fixed(9), Fixed(0)];
    let hashes: Vec<_> = (0..4_u64).map(hash::mix).collect();
    let mut rng = SmallRng::seed_from_u64(1);
    for (near, expected) in [(1.0, 0..1), (0.7, 5700..6300), (0.0, 20_000..20_001)] {
        let shares = near_and_far(near);
        for balancer in all() {
            let mut hits = [[0_u32; 4]; 2];
            for turn in 0..20_000 {
                let choice = Choice {
                    shares: Some(&shares),
                    turn,
                    ..by(&balancer)
                };
                let key = Keyed {
                    key: hash::mix(turn as u64),
                    endpoints: &hashes,
                    in_flight: 1000,
                };
                hits[0][endpoint(&choice, &candidates, &mut rng).unwrap()] += 1;
                hits[1][keyed(&hashing(9.0), &key, &choice, &candidates).unwrap()] += 1;
            }
            for hits in hits {
                assert!(expected.contains(&hits[3]), "{balancer:?} {near}: {hits:?}");
                let each = (20_000 - hits[3]) / 3;
                assert!(
                    hits[..3].iter().all(|hits| hits.abs_diff(each) < 500),
                    "{balancer:?} {near}: {hits:?}"
                );
            }
        }
    }
}

#[test]
fn a_key_leaves_its_tier_only_when_that_takes_less() {
    let candidates = [Fixed(0), Fixed(0), Fixed(0), Fixed(0)];
    let hashes: Vec<_> = (0..4_u64).map(hash::mix).collect();
    let balancer = Balancer::default();
    let at = |near: f32, key| {
        let shares = near_and_far(near);
        let choice = Choice {
            shares: Some(&shares),
            ..by(&balancer)
        };
        let key = Keyed {
            key: hash::mix(key),
            endpoints: &hashes,
            in_flight: 0,
        };
        keyed(&hashing(9.0), &key, &choice, &candidates).unwrap()
    };
    let mut moved = 0;
    for key in 0..1000 {
        let (whole, most) = (at(1.0, key), at(0.8, key));
        assert!(most == whole || most == 3);
        moved += usize::from(most != whole);
        let (again, less) = (at(0.8, key), at(0.5, key));
        assert!(again == most && (less == most || less == 3));
    }
    assert!((130..270).contains(&moved), "{moved}");
}

#[test]
fn a_retry_goes_on_to_the_next_tier_when_all_of_the_nearest_were_tried() {
    let candidates = [Fixed(0), Fixed(0), Fixed(0), Fixed(0)];
    let hashes: Vec<_> = (0..4_u64).map(hash::mix).collect();
    let shares = near_and_far(1.0);
    let mut rng = SmallRng::seed_from_u64(1);
    for balancer in all() {
        for (tried, next) in [
            (&[0, 1][..], 2..3),
            (&[0, 1, 2][..], 3..4),
            (&[0, 1, 2, 3][..], 0..3),
        ] {
            for turn in 0..50 {
                let choice = Choice {
                    tried,
                    shares: Some(&shares),
                    turn,
                    balancer: &balancer,
                };
                let key = Keyed {
                    key: hash::mix(turn as u64),
                    endpoints: &hashes,
                    in_flight: 0,
                };
                let picked = endpoint(&choice, &candidates, &mut rng).unwrap();
                assert!(next.contains(&picked), "{balancer:?}: {picked}");
                let picked = keyed(&hashing(9.0), &key, &choice, &candidates).unwrap();
                assert!(next.contains(&picked), "{picked}");
            }
        }
    }
}

#[test]
fn where_all_are_left_out_there_is_none() {
    let shares = Shares::new(vec![0.0, 0.0]).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    for balancer in all() {
        let choice = Choice {
            shares: Some(&shares),
            ..by(&balancer)
        };
        assert_eq!(endpoint(&choice, &[Fixed(0), Fixed(0)], &mut rng), None);
    }
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
        parts in proptest::collection::vec(0u8..4, 6), turn in 0usize..10,
    ) {
        let candidates: Vec<_> = loads.into_iter().map(Fixed).collect();
        let tried: Vec<_> = tried.into_iter().filter(|index| *index < candidates.len()).collect();
        let parts = parts[..candidates.len()].iter().map(|part| f32::from(*part) / 3.0).collect();
        let shares = Shares::new(parts);
        let open = |index: &usize| shares.as_ref().is_none_or(|shares| shares.of(*index) > 0.0);
        let mut rng = SmallRng::seed_from_u64(seed);
        let hashes: Vec<_> = (0..candidates.len()).map(|n| hash::mix(n as u64)).collect();
        for balancer in all() {
            let choice = Choice { tried: &tried, shares: shares.as_ref(), turn, balancer: &balancer };
            let key = Keyed { key: seed, endpoints: &hashes, in_flight: 3 };
            for picked in [
                endpoint(&choice, &candidates, &mut rng),
                keyed(&hashing(1.25), &key, &choice, &candidates),
            ] {
                let any = (0..candidates.len()).any(|index| open(&index));
                let fresh = (0..candidates.len()).any(|index| open(&index) && !tried.contains(&index));
                prop_assert_eq!(picked.is_some(), any);
                if let Some(picked) = picked {
                    prop_assert!(open(&picked));
                    prop_assert!(!fresh || !tried.contains(&picked));
                }
            }
        }
    }

    #[test]
    fn none_has_more_than_its_bound(
        count in 1usize..12, percent in 100u16..300, keys in proptest::collection::vec(0u64..3, 1..200),
    ) {
        // Few keys, which would all be for few endpoints.
        let policy = hashing(f32::from(percent) / 100.0);
        let hashes: Vec<_> = (0..count).map(|n| hash::of(&n.to_le_bytes())).collect();
        let mut loads: Vec<_> = (0..count).map(|_| Fixed(0)).collect();
        let balancer = Balancer::ConsistentHash(Arc::new(policy.clone()));
        for (in_flight, key) in (0..).zip(keys) {
            let key = Keyed { key: hash::mix(key), endpoints: &hashes, in_flight };
            let picked = keyed(&policy, &key, &by(&balancer), &loads).unwrap();
            loads[picked].0 += 1;
            let bound = (f64::from(policy.balance) * f64::from(in_flight + 1) / count as f64).ceil();
            prop_assert!(f64::from(loads[picked].0) <= bound);
        }
    }
}
