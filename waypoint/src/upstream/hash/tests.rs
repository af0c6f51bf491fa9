//! Keys stay where they are when others come and go, and endpoints get alike.

use proptest::prelude::*;

use super::*;

fn endpoints(count: usize) -> Vec<u64> {
    (0..count)
        .map(|n| of(format!("c1//Pod/demo/web-{n}").as_bytes()))
        .collect()
}

fn whole(_: usize) -> f32 {
    1.0
}

fn plain(key: u64, endpoints: &[u64]) -> usize {
    pick(key, endpoints, whole, |_| true).unwrap()
}

#[test]
fn hashes_are_the_same_in_every_version() {
    // Changing these moves every client of every service while two versions run side by side.
    assert_eq!(of(b""), mix(BASIS));
    assert_eq!(of(b"user-1"), 0xc499_b5f8_a721_df58);
    assert_ne!(more(of(b"a"), b"b"), more(of(b"b"), b"a"));
}

#[test]
fn keys_are_spread_alike_over_a_thousand_endpoints() {
    let all = endpoints(1000);
    let mut hits = vec![0_u32; all.len()];
    for key in 0..100_000_u64 {
        hits[plain(of(&key.to_le_bytes()), &all)] += 1;
    }
    // A hundred each, with a standard deviation of ten.
    assert!(
        hits.iter().all(|hits| (40..=160).contains(hits)),
        "{hits:?}"
    );
}

#[test]
fn nothing_to_pick_from_is_nothing() {
    assert_eq!(pick(1, &[], whole, |_| true), None);
    assert_eq!(pick(1, &[7], |_| 0.0, |_| true), None);
    assert_eq!(pick(1, &[7], whole, |_| false), Some(0), "full, but there");
}

proptest! {
    #[test]
    fn who_goes_gives_away_its_own_keys_alone(count in 2usize..40, gone in 0usize..40, keys in proptest::collection::vec(any::<u64>(), 200)) {
        let all = endpoints(count);
        let gone = gone % count;
        let mut rest = all.clone();
        let left = rest.remove(gone);
        for key in keys {
            let (before, after) = (all[plain(key, &all)], rest[plain(key, &rest)]);
            prop_assert!(before == left || before == after);
        }
    }

    #[test]
    fn a_growing_share_takes_keys_and_moves_none_between_others(
        count in 2usize..20, parts in proptest::collection::vec(0.01f32..1.0, 2), keys in proptest::collection::vec(any::<u64>(), 200),
    ) {
        let all = endpoints(count);
        let (small, large) = (parts[0].min(parts[1]), parts[0].max(parts[1]));
        let at = |key, part: f32| pick(key, &all, |index| if index == 0 { part } else { 1.0 }, |_| true).unwrap();
        for key in keys {
            let (before, after) = (at(key, small), at(key, large));
            prop_assert!(before == after || after == 0);
        }
    }

    #[test]
    fn what_is_full_is_left_out_while_another_fits(count in 1usize..20, full in proptest::collection::vec(any::<bool>(), 20), key: u64) {
        let all = endpoints(count);
        let picked = pick(key, &all, whole, |index| !full[index]).unwrap();
        prop_assert!(!full[picked] || full[..count].iter().all(|full| *full));
    }
}
