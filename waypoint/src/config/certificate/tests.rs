//! Which certificates are taken, and which of several serves a name.

use std::time::Duration;

use super::testing::{ecdsa, rsa};
use super::*;

#[test]
fn a_sound_one_is_taken_whatever_its_key() {
    for raw in [ecdsa(&["a.example"]), rsa(&["a.example"])] {
        let certificate = Certificate::decode(&raw).unwrap();
        let left = certificate
            .not_after
            .duration_since(SystemTime::now())
            .unwrap();
        let day = Duration::from_secs(86_400);
        assert!(left > day && left <= 2 * day, "{left:?}");
        assert!(!format!("{certificate:?}").contains("PRIVATE"));
    }
}

#[test]
fn what_cannot_serve_is_named_and_no_key_is_told() {
    let (one, other) = (ecdsa(&["a"]), ecdsa(&["a"]));
    let refused = |chain: &str, key: &str| {
        let raw = pb::Certificate {
            chain: chain.into(),
            key: key.into(),
        };
        Certificate::decode(&raw).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&one.chain, &other.key),
        "key: does not belong to the first certificate"
    );
    assert_eq!(
        refused(&one.chain, "secret"),
        "key: is not a private key in PEM"
    );
    assert_eq!(refused("", &one.key), "chain: holds no certificate");
    let cut = &one.chain[..one.chain.len() / 2];
    assert!(refused(cut, &one.key).starts_with("chain: "));
}

#[test]
fn the_first_that_has_the_name_serves_it() {
    let decode = |names: &[&str]| Arc::new(Certificate::decode(&ecdsa(names)).unwrap());
    let all = [
        decode(&["first.example"]),
        decode(&["*.example", "a.example"]),
        decode(&["a.example"]),
    ];
    for (name, expected) in [
        (Some("first.example"), 0),
        (Some("a.example"), 1),
        (Some("any.example"), 1),
        (Some("two.labels.example"), 0),
        (Some(""), 0),
        (None, 0),
    ] {
        let chosen = Certificate::choose(&all, name).unwrap();
        assert!(Arc::ptr_eq(chosen, &all[expected]), "{name:?}");
    }
    assert!(Certificate::choose(&[], None).is_none());
}
