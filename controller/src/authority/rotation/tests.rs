//! The order of things when one authority follows another.

use culvert_identity::TrustDomain;
use culvert_identity::ca::Root;

use super::*;

const TTL: Duration = Duration::from_secs(48 * 3600);

fn authority() -> Authority {
    let domain = TrustDomain::new("cluster.local").unwrap();
    let pems = Root::generate(&domain).unwrap();
    let root = Root::from_pems(&pems, domain).unwrap();
    Authority::new(pems, false, root).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn of(authorities: &[&Authority]) -> Vec<String> {
    let roots = authorities.iter().flat_map(|a| a.roots.clone());
    roots.collect()
}

fn start(signing: &Authority) -> Rotation {
    Rotation::new(signing.clone(), Published::default(), TTL, at(0))
}

/// As the next start reads it.
fn published(trusted: &Published) -> Published {
    let retired = serde_json::to_string(&trusted.retired).unwrap();
    Published::parse(&trusted.roots.concat(), &retired)
}

#[tokio::test]
async fn a_new_root_is_trusted_before_it_signs_and_the_old_one_until_what_it_signed_has_run_out() {
    let (old, new) = (authority(), authority());
    let mut rotation = start(&old);
    assert_eq!(rotation.trusted(at(0)).roots, of(&[&old]));
    let now = Instant::now();
    assert!(!rotation.seen(old.clone(), now));
    assert!(rotation.until().is_none());

    assert!(rotation.seen(new.clone(), now));
    assert!(!rotation.seen(new.clone(), now));
    assert_eq!(rotation.trusted(at(1)).roots, of(&[&old, &new]));
    // Not yet: not everybody knows it.
    assert!(rotation.step(TTL, at(2), now + SETTLE / 2).is_none());
    let root = rotation.step(TTL, at(100), now + SETTLE).unwrap();
    assert!(Arc::ptr_eq(&root, &new.root));
    assert!(rotation.until().is_none());
    assert_eq!(rotation.trusted(at(101)).roots, of(&[&new, &old]));
    let last = 100 + i64::try_from((TTL + MARGIN).as_secs()).unwrap();
    assert_eq!(rotation.trusted(at(last - 1)).roots, of(&[&new, &old]));
    assert_eq!(rotation.trusted(at(last)).roots, of(&[&new]));
}

#[tokio::test]
async fn a_restart_at_any_moment_forgets_no_root() {
    let (old, new) = (authority(), authority());
    let mut rotation = start(&old);
    let now = Instant::now();
    // The Secret changed while no controller ran.
    let before = published(&rotation.trusted(at(0)));
    let mut restarted = Rotation::new(new.clone(), before, TTL, at(5));
    assert_eq!(restarted.trusted(at(6)).roots, of(&[&new, &old]));
    // After it was seen, before it signs; and after.
    rotation.seen(new.clone(), now);
    let during = published(&rotation.trusted(at(10)));
    let mut restarted = Rotation::new(new.clone(), during, TTL, at(11));
    assert_eq!(restarted.trusted(at(12)).roots, of(&[&new, &old]));
    rotation.step(TTL, at(100), now + SETTLE).unwrap();
    let after = rotation.trusted(at(101));
    let end = after.retired.values().next().copied().unwrap();
    // A later start does not prolong it.
    let mut restarted = Rotation::new(new.clone(), published(&after), TTL, at(50_000));
    assert_eq!(restarted.trusted(at(50_001)), after);
    assert_eq!(restarted.trusted(end).roots, of(&[&new]));
}

#[tokio::test]
async fn a_way_back_and_one_that_is_passed_over() {
    let (one, two, three) = (authority(), authority(), authority());
    let mut rotation = start(&one);
    let now = Instant::now();
    rotation.seen(two.clone(), now);
    // Back before it signed: replicas that were started meanwhile have signed by it.
    rotation.seen(one.clone(), now);
    assert!(rotation.step(TTL, at(1), now).is_some());
    assert_eq!(rotation.trusted(at(1)).roots, of(&[&one, &two]));
    rotation.seen(three.clone(), now);
    let root = rotation.step(TTL, at(90), now + SETTLE).unwrap();
    assert!(Arc::ptr_eq(&root, &three.root));
    let mut trusted = rotation.trusted(at(91));
    assert_eq!(trusted.roots.remove(0), of(&[&three])[0]);
    trusted.roots.sort();
    let mut rest = of(&[&one, &two]);
    rest.sort();
    assert_eq!(trusted.roots, rest);
    // Nobody is trusted for ever.
    let much_later = at(10_000_000);
    assert_eq!(rotation.trusted(much_later).roots, of(&[&three]));
}

#[tokio::test]
async fn a_root_that_must_go_goes_at_once_and_does_not_come_back() {
    let (old, mut new) = (authority(), authority());
    new.alone = true;
    let mut rotation = start(&old);
    let now = Instant::now();
    let before = published(&rotation.trusted(at(0)));
    rotation.seen(new.clone(), now);
    assert!(rotation.step(TTL, at(1), now).is_some());
    assert_eq!(rotation.trusted(at(1)).roots, of(&[&new]));
    let mut restarted = Rotation::new(new.clone(), before, TTL, at(2));
    assert_eq!(restarted.trusted(at(2)).roots, of(&[&new]));
}

#[test]
fn what_is_no_certificate_is_trusted_by_nobody() {
    let good = authority().roots.concat();
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let published = Published::parse(&format!("{good}{bad}rest"), "{");
    assert_eq!(published.roots, [good]);
    assert!(published.retired.is_empty());
}
