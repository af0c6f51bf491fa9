//! For how long an address is a name's, and how many there are at most.

use super::*;

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn found(addresses: impl IntoIterator<Item = IpAddr>, seconds: u64) -> Found {
    Found {
        addresses: addresses.into_iter().collect(),
        ttl: Duration::from_secs(seconds),
    }
}

#[test]
fn an_address_is_a_names_until_its_answer_and_the_grace_are_over() {
    let (names, now) = (Names::default(), Instant::now());
    assert_eq!(names.look("a", ip(1), now), Holds::Unknown);
    names.learn("a", &found([ip(1)], 60), now);
    names.asked("a", true, now);
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(names.look("a", ip(1), at(359)), Holds::Yes);
    assert_eq!(names.look("a", ip(1), at(360)), Holds::Unknown);
    assert_eq!(names.look("b", ip(1), now), Holds::Unknown, "another name");
    // Another address: not again at once, and again later.
    assert_eq!(names.look("a", ip(2), at(1)), Holds::No);
    assert_eq!(names.look("a", ip(2), at(2)), Holds::Unknown);
    assert_eq!(
        names.look("a", "2001:db8::1".parse().unwrap(), now),
        Holds::Unknown,
        "another family"
    );
    // A further answer adds to what is known, and prolongs it.
    names.learn("a", &found([ip(2)], 0), at(100));
    names.learn("a", &found([ip(1)], 60), at(100));
    assert_eq!(names.look("a", ip(2), at(399)), Holds::Yes);
    assert_eq!(names.look("a", ip(1), at(459)), Holds::Yes);
    // However long an answer wants to be believed.
    names.learn("c", &found([ip(3)], u64::from(u32::MAX)), now);
    assert_eq!(
        names.look("c", ip(3), now + LONGEST + GRACE),
        Holds::Unknown
    );
}

#[test]
fn there_are_so_many_and_no_more() {
    let (names, now) = (Names::default(), Instant::now());
    for i in 0..2 * NAMES {
        names.asked(&format!("n{i}"), true, now);
    }
    assert_eq!(names.lock().len(), NAMES);
    names.learn("kept", &found([ip(1)], 60), now);
    for i in 0..NAMES {
        names.asked(&format!("m{i}"), true, now);
    }
    assert_eq!(names.lock().len(), NAMES);
    assert_eq!(
        names.look("kept", ip(1), now),
        Holds::Yes,
        "what lasts longest stays"
    );
    let many = (0..1000u32).map(|i| IpAddr::from((0x0a00_0000 + i).to_be_bytes()));
    names.learn("many", &found(many, 60), now);
    names.learn("many", &found([ip(1)], 120), now);
    assert_eq!(names.lock()["many"].addresses.len(), ADDRESSES);
    assert_eq!(
        names.look("many", ip(1), now),
        Holds::Yes,
        "the newest is there"
    );
}
