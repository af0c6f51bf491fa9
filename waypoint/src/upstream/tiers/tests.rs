//! Nearer tiers take as much as they may; the rest goes on.

use proptest::prelude::*;

use super::*;

fn tiers(of: &[Option<usize>]) -> Tiers {
    Tiers::for_tests(of)
}

fn close(loads: &[f32], expected: &[f32]) -> bool {
    let mut pairs = loads.iter().zip(expected);
    loads.len() == expected.len() && pairs.all(|(load, expected)| (load - expected).abs() < 0.002)
}

#[test]
fn a_tier_takes_all_as_long_as_five_of_seven_are_well() {
    let of: Vec<_> = (0..9).map(|index| Some(usize::from(index >= 7))).collect();
    let tiers = tiers(&of);
    let loads = |bad: usize| {
        let shares = (0..9).map(|index| if index < bad { 0.0 } else { 1.0 });
        tiers.loads(&shares.collect::<Vec<_>>())
    };
    assert_eq!(loads(0).of, [1.0, 0.0]);
    assert_eq!(loads(2).of, [1.0, 0.0], "not a bit of rounding");
    assert!(close(&loads(3).of, &[0.8, 0.2]));
    assert!(close(&loads(6).of, &[0.2, 0.8]));
    assert_eq!(loads(7).of, [0.0, 1.0]);
    assert!((0..=7).all(|bad| !loads(bad).short));
}

#[test]
fn what_all_together_lack_is_spread_over_those_that_are_well() {
    let tiers = tiers(&[Some(0), Some(0), Some(1), Some(1), Some(1), Some(1), None]);
    let loads = tiers.loads(&[0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    // 0.35 and 0.35 of the whole.
    assert!(loads.short && close(&loads.of, &[0.5, 0.5]), "{loads:?}");
    let nobody = tiers.loads(&[0.0; 7]);
    assert!(nobody.short && nobody.of == [0.0, 0.0]);
    assert_eq!(tiers.members(), 6);
}

proptest! {
    #[test]
    fn loads_are_the_whole_and_the_nearest_first(
        members in proptest::collection::vec((0usize..4, 0u8..=4), 1..30),
    ) {
        // Every tier has somebody.
        let mut known: Vec<_> = members.iter().map(|(tier, _)| *tier).collect();
        known.sort_unstable();
        known.dedup();
        let of: Vec<_> = members.iter().map(|(tier, _)| known.binary_search(tier).ok()).collect();
        let shares: Vec<_> = members.iter().map(|(_, part)| f32::from(*part) / 4.0).collect();
        let tiers = tiers(&of);
        let loads = tiers.loads(&shares);
        let sum: f32 = loads.of.iter().sum();
        if shares.iter().all(|share| *share == 0.0) {
            prop_assert_eq!(sum, 0.0);
        } else {
            prop_assert!((sum - 1.0).abs() < 0.01, "{:?}", loads);
        }
        for (tier, load) in loads.of.iter().enumerate() {
            let inside: Vec<_> = of.iter().zip(&shares).filter(|(of, _)| **of == Some(tier)).collect();
            let sum: f32 = inside.iter().map(|(_, share)| **share).sum();
            let can = sum / inside.len() as f32 * OVERPROVISIONING;
            prop_assert!(loads.short || *load <= can + 0.01);
            // Something farther away has a load: this one is full.
            let farther: f32 = loads.of[tier + 1..].iter().sum();
            prop_assert!(loads.short || farther == 0.0 || (*load - can).abs() < 0.01);
        }
    }
}
