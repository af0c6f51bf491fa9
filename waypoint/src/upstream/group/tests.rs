//! Who is left out, for how long, how it comes back, and what several cores see of it.

use super::*;
use crate::config::resilience::SuccessRate;

const SECOND: Duration = Duration::from_secs(1);

fn uid(n: usize) -> Arc<str> {
    format!("c1//Pod/demo/web-{n}").into()
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

fn resilience() -> Resilience {
    let outlier = OutlierDetection {
        consecutive_5xx: 3,
        consecutive_gateway: 2,
        interval: SECOND * 10,
        base_ejection: SECOND * 30,
        max_ejection_percent: 50,
        min_health_percent: 0,
        success_rate: None,
        latency: None,
        returning: Ramp {
            duration: SECOND * 10,
            minimum: 0.1,
            aggression: 1.0,
        },
    };
    Resilience {
        locality: None,
        outlier: Some(outlier),
        warmup: None,
        registry: Arc::default(),
    }
}

fn service() -> ServiceRef {
    ServiceRef {
        service: "demo/web".into(),
        port: 80,
    }
}

fn members(group: &Group, version: u64, ids: &[usize]) -> Vec<Arc<Member>> {
    let uids: Vec<_> = ids.iter().map(|id| uid(*id)).collect();
    group.sync(version, uids.iter().map(|uid| (uid, address())))
}

fn fail(group: &Group, resilience: &Resilience, member: &Arc<Member>, times: usize) {
    for _ in 0..times {
        group.observe(resilience, member, Sample::ServerError, SECOND);
    }
}

fn ejected(members: &[Arc<Member>]) -> Vec<bool> {
    members.iter().map(|member| member.ejected() != 0).collect()
}

#[test]
fn errors_in_a_row_count_and_a_success_ends_the_row() {
    let (group, resilience) = (Group::new(service()), resilience());
    let all = members(&group, 1, &[0, 1]);
    fail(&group, &resilience, &all[0], 2);
    group.observe(&resilience, &all[0], Sample::Good, SECOND);
    fail(&group, &resilience, &all[0], 2);
    assert_eq!(ejected(&all), [false, false]);
    fail(&group, &resilience, &all[0], 1);
    assert_eq!(ejected(&all), [true, false]);
    // Errors of gateways have a row of their own.
    let other = Group::new(service());
    let all = members(&other, 1, &[0, 1]);
    other.observe(&resilience, &all[0], Sample::GatewayError, SECOND);
    other.observe(&resilience, &all[0], Sample::ServerError, SECOND);
    assert_eq!(ejected(&all), [false, false]);
    other.observe(&resilience, &all[1], Sample::GatewayError, SECOND);
    other.observe(&resilience, &all[1], Sample::GatewayError, SECOND);
    assert_eq!(ejected(&all), [false, true]);
}

#[test]
fn who_was_left_out_grows_into_its_share_and_is_left_out_longer_the_next_time() {
    let (group, resilience) = (Group::new(service()), resilience());
    let all = members(&group, 1, &[0, 1]);
    let returning = resilience
        .outlier
        .as_ref()
        .map(|outlier| &outlier.returning);
    fail(&group, &resilience, &all[0], 3);
    let until = all[0].ejected();
    let first = until - group.now();
    assert!((29_000..=30_000).contains(&first), "{first}");
    group.review(&resilience, until - 1);
    assert_ne!(all[0].ejected(), 0);
    let changes = group.changes();
    group.review(&resilience, until);
    assert_eq!(all[0].ejected(), 0);
    assert!(group.changes() > changes, "cores look again");
    assert_eq!(all[0].share(until, None, returning), 0.1);
    assert!((all[0].share(until + 5000, None, returning) - 0.5).abs() < 1e-6);
    assert_eq!(all[0].share(until + 10_000, None, returning), 1.0);
    fail(&group, &resilience, &all[0], 3);
    let second = all[0].ejected() - group.now();
    assert!(second > 30_000 && second <= 60_000, "{second}");
}

#[test]
fn not_too_many_are_left_out_whoever_fails() {
    let (group, resilience) = (Group::new(service()), resilience());
    let all = members(&group, 1, &[0, 1, 2, 3]);
    std::thread::scope(|scope| {
        for member in &all {
            scope.spawn(|| fail(&group, &resilience, member, 300));
        }
    });
    assert_eq!(ejected(&all).iter().filter(|ejected| **ejected).count(), 2);
}

#[test]
fn the_newest_snapshot_says_who_is_there() {
    let (group, resilience) = (Group::new(service()), resilience());
    let before = members(&group, 1, &[0, 1]);
    fail(&group, &resilience, &before[0], 3);
    // A core that is ahead, then one that is behind.
    let after = members(&group, 2, &[1, 2, 3]);
    let behind = members(&group, 1, &[0, 1]);
    assert!(Arc::ptr_eq(&before[1], &after[0]) && Arc::ptr_eq(&before[1], &behind[1]));
    fail(&group, &resilience, &before[0], 3);
    fail(&group, &resilience, &after[1], 3);
    assert_eq!(
        ejected(&after),
        [false, true, false],
        "who is gone takes no place"
    );
    // What comes back is another one.
    let again = members(&group, 3, &[0, 1]);
    assert!(!Arc::ptr_eq(&before[0], &again[0]));
    assert_eq!(ejected(&again), [false, false]);
}

#[test]
fn who_comes_later_is_new() {
    let group = Group::new(service());
    let warmup = Ramp {
        duration: SECOND * 20,
        minimum: 0.25,
        aggression: 1.0,
    };
    let first = members(&group, 1, &[0]);
    let then = members(&group, 2, &[0, 1]);
    let now = group.now();
    assert_eq!(first[0].share(now, Some(&warmup), None), 1.0);
    assert_eq!(then[1].share(now, Some(&warmup), None), 0.25);
    assert_eq!(then[1].share(now + 20_000, Some(&warmup), None), 1.0);
    assert_eq!(
        then[1].share(now, None, None),
        1.0,
        "where no policy says so"
    );
}

#[test]
fn rates_are_compared_interval_by_interval() {
    let (group, mut resilience) = (Group::new(service()), resilience());
    let outlier = resilience.outlier.as_mut().unwrap();
    outlier.consecutive_5xx = 0;
    outlier.success_rate = Some(SuccessRate {
        hosts: 3,
        volume: 10,
        stdev_factor: 1.0,
    });
    let all = members(&group, 1, &[0, 1, 2, 3]);
    let run = |failing: usize| {
        for (index, member) in all.iter().enumerate() {
            for _ in 0..5 {
                let bad = if index == failing {
                    Sample::ServerError
                } else {
                    Sample::Good
                };
                group.observe(&resilience, member, bad, SECOND);
                group.observe(&resilience, member, Sample::Good, SECOND);
            }
        }
    };
    let start = group.now();
    group.review(&resilience, start);
    run(2);
    group.review(&resilience, start + 9_999);
    assert_eq!(ejected(&all), [false; 4], "the interval is not over");
    group.review(&resilience, start + 10_000);
    assert_eq!(ejected(&all), [false, false, true, false]);
    // What was counted is over as well.
    group.review(&resilience, start + 20_000);
    assert_eq!(ejected(&all), [false, false, true, false]);
}

#[test]
fn people_see_who_is_left_out() {
    let registry = Registry::default();
    let (group, resilience) = (registry.group(&service()), Arc::new(resilience()));
    let all = members(&group, 1, &[0, 1]);
    let seen = || registry.view(|_| Some(Arc::clone(&resilience)));
    assert!(seen().is_empty());
    fail(&group, &resilience, &all[1], 3);
    let shown = seen();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["endpoint"], "c1//Pod/demo/web-1");
    assert_eq!(
        (shown[0]["state"].as_str(), shown[0]["share"].as_f64()),
        (Some("ejected"), Some(0.0))
    );
    group.review(&resilience, all[1].ejected());
    // By the clock it has only just been left out.
    assert_eq!(seen()[0]["state"], "returning");
}

#[test]
fn cores_find_the_same_group() {
    let registry = Registry::default();
    let (one, other) = (registry.group(&service()), registry.group(&service()));
    assert!(Arc::ptr_eq(&one, &other));
    let port = ServiceRef {
        port: 81,
        ..service()
    };
    assert!(!Arc::ptr_eq(&one, &registry.group(&port)));
}
