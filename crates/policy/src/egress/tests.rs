//! What is admitted, what has to be named, and what is refused whatever a client says.

use super::*;

fn rule(blocks: &[(&str, &[&str])], hosts: &[&str], ports: &[(u16, u16)]) -> EgressRule {
    EgressRule {
        blocks: blocks
            .iter()
            .map(|(cidr, except)| EgressBlock {
                cidr: cidr.parse().unwrap(),
                except: except.iter().map(|net| net.parse().unwrap()).collect(),
            })
            .collect(),
        hosts: hosts
            .iter()
            .map(|h| HostPattern::parse(h).unwrap())
            .collect(),
        ports: ports.iter().map(|(first, last)| *first..=*last).collect(),
    }
}

fn set(policies: &[(&str, Vec<EgressRule>)]) -> EgressSet {
    let policy = |(name, rules): &(&str, Vec<EgressRule>)| {
        Arc::new(EgressPolicy {
            name: (*name).into(),
            rules: rules.clone(),
        })
    };
    policies.iter().map(policy).collect()
}

fn at(set: &EgressSet, to: &str) -> String {
    match set.at(to.parse().unwrap()) {
        EgressWord::Admitted(policy) => policy.to_string(),
        EgressWord::ByName => "by name".into(),
        EgressWord::Refused => "refused".into(),
    }
}

#[test]
fn without_rules_nothing_is_admitted() {
    for set in [
        set(&[]),
        set(&[("demo/none", vec![])]),
        set(&[("demo/empty", vec![rule(&[], &[], &[])])]),
    ] {
        assert_eq!(at(&set, "192.0.2.1:443"), "refused");
        assert_eq!(
            set.named("192.0.2.1:443".parse().unwrap(), "a.example"),
            None
        );
    }
}

#[test]
fn blocks_have_exceptions_and_ports_and_any_policy_admits() {
    let set = set(&[
        (
            "demo/a",
            vec![rule(
                &[("192.0.2.0/24", &["192.0.2.128/25"])],
                &[],
                &[(443, 443), (8000, 8010)],
            )],
        ),
        (
            "demo/b",
            vec![rule(
                &[("192.0.2.200/32", &[]), ("2001:db8::/32", &[])],
                &[],
                &[],
            )],
        ),
    ]);
    for (to, expected) in [
        ("192.0.2.1:443", "demo/a"),
        ("[::ffff:192.0.2.1]:443", "demo/a"),
        ("192.0.2.1:8005", "demo/a"),
        ("192.0.2.1:8011", "refused"),
        ("192.0.2.1:80", "refused"),
        ("192.0.2.129:443", "refused"),
        ("192.0.2.200:80", "demo/b"),
        ("[2001:db8::1]:1", "demo/b"),
        ("[2001:db9::1]:1", "refused"),
        ("198.51.100.1:443", "refused"),
    ] {
        assert_eq!(at(&set, to), expected, "{to}");
    }
}

#[test]
fn names_are_asked_for_only_where_a_rule_may_admit_one() {
    let set = set(&[(
        "demo/a",
        vec![
            rule(&[], &["api.example.com"], &[(443, 443)]),
            rule(&[], &["*.example.org"], &[(80, 80)]),
        ],
    )]);
    assert_eq!(at(&set, "192.0.2.1:443"), "by name");
    assert_eq!(at(&set, "192.0.2.1:22"), "refused");
    // A name may not lead to what is the node's own.
    for own in [
        "169.254.169.254:443",
        "127.0.0.1:443",
        "[fe80::1]:443",
        "[::ffff:169.254.169.254]:443",
    ] {
        assert_eq!(at(&set, own), "refused", "{own}");
        assert_eq!(set.named(own.parse().unwrap(), "api.example.com"), None);
    }
    let named = |port: u16, name: &str| set.named(([192, 0, 2, 1], port).into(), name).is_some();
    assert!(named(443, "api.example.com"));
    assert!(!named(80, "api.example.com"), "another port");
    assert!(named(80, "a.example.org") && named(80, "a.b.example.org"));
    for other in [
        "example.org",
        "aexample.org",
        ".example.org",
        "api.example.com.evil",
        "",
    ] {
        assert!(!named(80, other), "{other}");
    }
    assert!(set.is_about("api.example.com") && set.is_about("x.example.org"));
    assert!(!set.is_about("example.com"));
}

#[test]
fn patterns_are_names_and_nothing_else() {
    for good in [
        "a",
        "api.example.com",
        "*.example.com",
        "a_b.example",
        "1.example",
    ] {
        assert!(HostPattern::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "*",
        "*.",
        "*example.com",
        "a.*.com",
        "API.example.com",
        "example.com.",
        ".example.com",
        "a..b",
        "-a.b",
        "a-.b",
        "192.0.2.1",
        "[::1]",
        "::1",
        "a:80",
        "a b",
        &"a".repeat(64),
        &["a"; 128].join("."),
    ] {
        assert_eq!(
            HostPattern::parse(bad),
            Err(InvalidHost(bad.to_owned())),
            "{bad}"
        );
    }
}
