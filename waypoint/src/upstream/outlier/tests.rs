//! Who is told apart from the others, and who is not.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn rates(failed: &[u32]) -> Vec<Interval> {
    let one = |failed: &u32| Interval {
        total: 100,
        failed: *failed,
        latency: None,
    };
    failed.iter().map(one).collect()
}

fn latencies(millis: &[u32]) -> Vec<Interval> {
    let one = |millis: &u32| Interval {
        total: 100,
        failed: 0,
        latency: Some(f64::from(*millis) * 1e6),
    };
    millis.iter().map(one).collect()
}

const RATE: SuccessRate = SuccessRate {
    hosts: 5,
    volume: 100,
    stdev_factor: 1.9,
};

const SLOW: SlowEndpoints = SlowEndpoints {
    hosts: 3,
    volume: 100,
    factor: 3.0,
    threshold: Duration::from_millis(10),
};

#[test]
fn one_that_fails_more_often_than_the_rest_stands_out() {
    assert_eq!(failing(&rates(&[1, 0, 2, 60, 1, 0]), &RATE), [3]);
    assert!(failing(&rates(&[50; 6]), &RATE).is_empty(), "all alike");
    assert!(failing(&rates(&[0, 0, 0, 90]), &RATE).is_empty(), "too few");
    let mut few = rates(&[1, 0, 2, 60, 1, 0]);
    few[3].total = 99;
    few[3].failed = 90;
    assert!(failing(&few, &RATE).is_empty(), "too few requests to tell");
}

#[test]
fn one_that_is_slower_than_the_others_stands_out() {
    assert_eq!(slow(&latencies(&[20, 25, 90, 22]), &SLOW), [2]);
    assert!(slow(&latencies(&[20, 25, 60, 22]), &SLOW).is_empty());
    assert!(
        slow(&latencies(&[1, 1, 9, 1]), &SLOW).is_empty(),
        "fast enough"
    );
    assert!(slow(&latencies(&[20, 90]), &SLOW).is_empty(), "too few");
    // It is not part of what it is compared with.
    assert_eq!(slow(&latencies(&[20, 20, 61]), &SLOW), [2]);
}

#[test]
fn one_of_several_may_always_go_and_never_the_only_one() {
    assert_eq!(allowed(1, 10), 0);
    assert_eq!(allowed(2, 10), 1);
    assert_eq!(allowed(30, 10), 3);
    assert_eq!(allowed(1, 100), 1);
    assert_eq!(allowed(9, 0), 0);
}

proptest! {
    #[test]
    fn never_all_of_them(failed in proptest::collection::vec(0u32..=100, 5..30), factor in 0u32..30) {
        let settings = SuccessRate { stdev_factor: f64::from(factor) / 10.0, ..RATE };
        prop_assert!(failing(&rates(&failed), &settings).len() < failed.len());
    }

    #[test]
    fn the_median_leaves_one_out(values in proptest::collection::vec(0u32..1000, 2..20), place in 0usize..20) {
        let mut sorted: Vec<_> = values.iter().map(|value| (f64::from(*value), 0)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let place = place % sorted.len();
        let mut others: Vec<_> = sorted.iter().map(|(value, _)| *value).collect();
        others.remove(place);
        let (low, high) = (others[(others.len() - 1) / 2], others[others.len() / 2]);
        prop_assert!((median_without(&sorted, place) - (low + high) / 2.0).abs() < 1e-9);
    }
}
