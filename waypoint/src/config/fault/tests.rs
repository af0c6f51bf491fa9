//! Who is struck, how often, for how long, and what is refused.

use http::HeaderValue;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn policy(delay: u32, abort: u32) -> pb::FaultPolicy {
    pb::FaultPolicy {
        delay: Some(pb::FaultDelay {
            fixed: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            per_ten_thousand: delay,
            ..Default::default()
        }),
        abort: Some(pb::FaultAbort {
            http_status: 503,
            per_ten_thousand: abort,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn selectors_must_all_match() {
    let kind = Some(pb::value_match::Kind::Exact("yes".into()));
    let mut raw = policy(10_000, 10_000);
    raw.headers = vec![pb::ValueMatch {
        name: "x-chaos".into(),
        kind,
    }];
    raw.principals = vec!["cluster.local/ns/demo/sa/curl".into()];
    let policy = FaultPolicy::decode(&raw).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let marked =
        HeaderMap::from_iter([("x-chaos".parse().unwrap(), HeaderValue::from_static("yes"))]);
    let curl = "cluster.local/ns/demo/sa/curl";
    assert_eq!(
        policy.roll(&marked, Some(curl), &mut rng).label(),
        Some("delay,abort")
    );
    assert_eq!(
        policy
            .roll(&marked, Some("cluster.local/ns/demo/sa/curl2"), &mut rng)
            .label(),
        None
    );
    assert_eq!(
        policy.roll(&marked, None, &mut rng).label(),
        None,
        "nobody is none of those that are named"
    );
    assert_eq!(
        policy.roll(&HeaderMap::new(), Some(curl), &mut rng).label(),
        None
    );
}

#[test]
fn nonsense_is_refused() {
    let refused = |change: fn(&mut pb::FaultPolicy)| {
        let mut raw = policy(1, 1);
        change(&mut raw);
        FaultPolicy::decode(&raw).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|raw| raw.delay = Some(pb::FaultDelay::default())),
        "delay.fixed: is missing"
    );
    assert_eq!(
        refused(|raw| raw.abort = Some(pb::FaultAbort::default())),
        "abort.http_status: 0 is not from 200 to 599"
    );
    assert_eq!(
        refused(|raw| raw.principals = vec!["spiffe://a/b".into()]),
        "principals[0].principal: `spiffe://a/b` is not a name without scheme"
    );
    assert_eq!(
        refused(|raw| raw.abort.as_mut().unwrap().per_ten_thousand = 10_001),
        "abort.per_ten_thousand: 10001 is more than 10000"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn shares_are_kept(seed: u64, delay in 0u32..=10_000, abort in 0u32..=10_000) {
        let policy = FaultPolicy::decode(&policy(delay, abort)).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut delayed, mut aborted) = (0i64, 0i64);
        for _ in 0..10_000 {
            let fault = policy.roll(&HeaderMap::new(), None, &mut rng);
            delayed += i64::from(fault.delay.is_some());
            aborted += i64::from(fault.abort.is_some());
        }
        // Six standard deviations of the widest binomial.
        prop_assert!((delayed - i64::from(delay)).abs() <= 300);
        prop_assert!((aborted - i64::from(abort)).abs() <= 300);
    }
}

#[test]
fn a_policy_ends_by_itself_and_lets_go_of_whom_it_delays() {
    let in_seconds = |seconds: i64| {
        let at = std::time::SystemTime::now() + Duration::from_secs(3600);
        let mut at = prost_types::Timestamp::from(at);
        at.seconds += seconds - 3600;
        let mut raw = policy(10_000, 10_000);
        raw.delay.as_mut().unwrap().fixed = Some(prost_types::Duration {
            seconds: 1800,
            nanos: 0,
        });
        raw.term = Some(pb::FaultTerm {
            not_after: Some(at),
            lasts: Some(prost_types::Duration {
                seconds: 600,
                nanos: 0,
            }),
        });
        FaultPolicy::decode(&raw).unwrap()
    };
    let mut rng = SmallRng::seed_from_u64(1);
    let mut roll = |policy: &FaultPolicy| policy.roll(&HeaderMap::new(), None, &mut rng);
    assert_eq!(roll(&in_seconds(-1)), Fault::default());
    let struck = roll(&in_seconds(60));
    assert_eq!(struck.label(), Some("delay,abort"));
    assert!(struck.delay.unwrap() <= Duration::from_secs(60));
    // A clock that is an hour late.
    let late = roll(&in_seconds(3600)).delay.unwrap();
    assert!(late <= Duration::from_secs(600), "{late:?}");
    // The same policy again, with another delay: the term goes on.
    let (first, again) = (in_seconds(3600), in_seconds(3600));
    let again = FaultPolicy {
        term: first.term,
        ..again
    };
    assert!(
        again.following(Some(&first)).left()
            <= first.left().map(|left| left + Duration::from_secs(1))
    );
}
