//! The meaning of a policy, case by case, and what `explain` says of it.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_policy::{
    Action, Clause, Connection, DenyReason, Field, Match, Policy, PolicySet, Principal, Rule,
    ServiceAccountMatch, StringMatch, Verdict, explain,
};

fn peer(namespace: &str, account: &str) -> Principal {
    Principal::new("cluster.local", namespace, account).unwrap()
}

fn from(peer: Option<&Principal>) -> Connection<'_> {
    Connection {
        peer,
        source: "10.11.0.5".parse().unwrap(),
        destination: "10.12.0.9:8080".parse().unwrap(),
    }
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn rule(m: Match) -> Rule {
    Rule {
        clauses: vec![Clause { matches: vec![m] }],
    }
}

fn policy(name: &str, action: Action, matches: Vec<Match>) -> Arc<Policy> {
    let rules = matches.into_iter().map(rule).collect();
    Arc::new(Policy::new(name, action, rules))
}

fn set(policies: &[Arc<Policy>]) -> PolicySet {
    policies.iter().cloned().collect()
}

fn namespace(name: &str) -> Match {
    Match {
        namespaces: vec![exact(name)],
        ..Match::default()
    }
}

fn not_namespace(name: &str) -> Match {
    Match {
        not_namespaces: vec![exact(name)],
        ..Match::default()
    }
}

fn strict() -> Arc<Policy> {
    let m = Match {
        not_principals: vec![StringMatch::Presence],
        ..Match::default()
    };
    policy("culvert-system/strict", Action::Deny, vec![m])
}

fn reason(set: &PolicySet, conn: &Connection<'_>) -> Option<DenyReason> {
    match set.evaluate(conn) {
        Verdict::Allow { .. } => None,
        Verdict::Deny { reason, .. } => Some(reason),
    }
}

#[test]
fn deny_then_allow_then_the_default() {
    let (web, evil) = (peer("web", "a"), peer("evil", "a"));
    assert_eq!(set(&[]).evaluate(&from(None)), Verdict::Allow { by: None });

    let allow = policy("demo/allow", Action::Allow, vec![namespace("web")]);
    let deny = policy("demo/deny", Action::Deny, vec![namespace("evil")]);
    let both = set(&[allow.clone(), deny.clone()]);
    assert_eq!(
        both.evaluate(&from(Some(&web))),
        Verdict::Allow {
            by: Some(allow.name())
        }
    );
    assert_eq!(
        both.evaluate(&from(Some(&evil))),
        Verdict::Deny {
            reason: DenyReason::PolicyDeny,
            policy: Some(deny.name())
        }
    );
    let other = peer("other", "a");
    assert_eq!(
        reason(&both, &from(Some(&other))),
        Some(DenyReason::PolicyNotAllowed)
    );
    assert_eq!(reason(&set(&[deny]), &from(Some(&other))), None);
}

#[test]
fn deny_wins_over_allow() {
    let web = peer("web", "a");
    let both = set(&[
        policy("a/allow", Action::Allow, vec![namespace("web")]),
        policy("z/deny", Action::Deny, vec![namespace("web")]),
    ]);
    assert_eq!(
        reason(&both, &from(Some(&web))),
        Some(DenyReason::PolicyDeny)
    );
}

#[test]
fn emptiness_at_each_level() {
    let conn = from(None);
    let matches = |rules: Vec<Rule>| Policy::new("a/b", Action::Allow, rules).matches(&conn);
    assert!(!matches(vec![]), "a policy without rules never matches");
    assert!(
        matches(vec![Rule::default()]),
        "a rule without clauses sets no condition"
    );
    let no_matches = Rule {
        clauses: vec![Clause::default()],
    };
    assert!(
        matches(vec![no_matches]),
        "a clause without matches sets no condition"
    );
    assert!(
        !matches(vec![rule(Match::default())]),
        "a match without fields matches nothing"
    );
    let skipped = Rule {
        clauses: vec![Clause {
            matches: vec![
                Match::default(),
                Match {
                    destination_ports: vec![8080],
                    ..Match::default()
                },
            ],
        }],
    };
    assert!(
        matches(vec![skipped]),
        "a match without fields is passed over"
    );
}

#[test]
fn an_allow_policy_without_rules_denies_everything() {
    let nobody = set(&[policy("a/nobody", Action::Allow, vec![])]);
    let web = peer("web", "a");
    assert_eq!(
        reason(&nobody, &from(Some(&web))),
        Some(DenyReason::PolicyNotAllowed)
    );
}

#[test]
fn rules_are_or_clauses_are_and_fields_are_and_values_are_or() {
    let port = |port| Match {
        destination_ports: vec![port, 1],
        ..Match::default()
    };
    let two_clauses = |a: Match, b: Match| Rule {
        clauses: vec![Clause { matches: vec![a] }, Clause { matches: vec![b] }],
    };
    let web = peer("web", "a");
    let conn = from(Some(&web));
    let matches = |rules| Policy::new("a/b", Action::Allow, rules).matches(&conn);
    assert!(matches(vec![two_clauses(namespace("web"), port(8080))]));
    assert!(!matches(vec![two_clauses(namespace("web"), port(9090))]));
    assert!(matches(vec![rule(port(9090)), rule(namespace("web"))]));
    let both_fields = |number| Match {
        destination_ports: vec![number],
        ..namespace("web")
    };
    assert!(matches(vec![rule(both_fields(8080))]));
    assert!(!matches(vec![rule(both_fields(9090))]));
}

#[test]
fn a_plain_text_peer_satisfies_no_allow_and_no_excuse_from_deny() {
    let conn = from(None);
    let accounts = vec![ServiceAccountMatch {
        namespace: "web".into(),
        service_account: "a".into(),
    }];
    let positive = [
        namespace("web"),
        Match {
            principals: vec![StringMatch::Presence],
            ..Match::default()
        },
        Match {
            service_accounts: accounts.clone(),
            ..Match::default()
        },
    ];
    let negative = [
        not_namespace("evil"),
        Match {
            not_principals: vec![exact("cluster.local/ns/evil/sa/a")],
            ..Match::default()
        },
        Match {
            not_service_accounts: accounts,
            ..Match::default()
        },
    ];
    for m in positive.iter().chain(&negative) {
        let allow = set(&[policy("a/allow", Action::Allow, vec![m.clone()])]);
        assert_eq!(
            reason(&allow, &conn),
            Some(DenyReason::PolicyNotAllowed),
            "{m:?}"
        );
    }
    for m in positive {
        let deny = set(&[policy("a/deny", Action::Deny, vec![m.clone()])]);
        assert_eq!(reason(&deny, &conn), None, "{m:?}");
    }
    for m in negative {
        let deny = set(&[policy("a/deny", Action::Deny, vec![m.clone()])]);
        assert!(reason(&deny, &conn).is_some(), "{m:?}");
    }
}

#[test]
fn strict_refuses_plain_text_by_its_own_reason_and_admits_every_identity() {
    let strict = set(&[strict()]);
    let anyone = peer("any", "one");
    assert_eq!(reason(&strict, &from(None)), Some(DenyReason::MtlsRequired));
    assert_eq!(reason(&strict, &from(Some(&anyone))), None);
}

#[test]
fn strict_with_an_exempted_port() {
    let rule = Rule {
        clauses: vec![
            Clause {
                matches: vec![Match {
                    not_destination_ports: vec![8080],
                    ..Match::default()
                }],
            },
            Clause {
                matches: vec![Match {
                    not_principals: vec![StringMatch::Presence],
                    ..Match::default()
                }],
            },
        ],
    };
    let policy = Policy::new("demo/strict-but-8080", Action::Deny, vec![rule]);
    assert!(policy.demands_mtls());
    let set = set(&[Arc::new(policy)]);
    assert_eq!(reason(&set, &from(None)), None);
    let mut other_port = from(None);
    other_port.destination.set_port(9090);
    assert_eq!(reason(&set, &other_port), Some(DenyReason::MtlsRequired));
}

#[test]
fn malformed_policies_fail_closed() {
    let web = peer("web", "a");
    let conn = from(Some(&web));
    let deny = set(&[Arc::new(Policy::malformed("a/deny", Action::Deny, "no"))]);
    assert_eq!(reason(&deny, &conn), Some(DenyReason::PolicyMalformed));
    let allow = set(&[Arc::new(Policy::malformed("a/allow", Action::Allow, "no"))]);
    assert_eq!(reason(&allow, &conn), Some(DenyReason::PolicyNotAllowed));
}

#[test]
fn an_unknown_condition_narrows_no_deny_and_satisfies_no_allow() {
    let m = || Match {
        unknown_conditions: vec!["culvert.dev/paths".into()],
        ..namespace("web")
    };
    let (web, other) = (peer("web", "a"), peer("other", "a"));
    let allow = set(&[policy("a/allow", Action::Allow, vec![m()])]);
    let deny = set(&[policy("a/deny", Action::Deny, vec![m()])]);
    assert!(reason(&allow, &from(Some(&web))).is_some());
    assert!(reason(&deny, &from(Some(&web))).is_some());
    assert!(reason(&deny, &from(Some(&other))).is_none());
}

#[test]
fn dry_run_is_reported_and_not_enforced() {
    let web = peer("web", "a");
    let conn = from(Some(&web));
    let deny = Policy::new("a/deny", Action::Deny, vec![rule(namespace("web"))]).with_dry_run(true);
    let trial = set(&[Arc::new(deny)]);
    assert!(trial.evaluate(&conn).is_allowed());
    assert!(matches!(
        trial.dry_run(&conn),
        Some(Verdict::Deny { reason: DenyReason::PolicyDeny, policy: Some(name) }) if &**name == "a/deny"
    ));
    let allow = Policy::new("a/allow", Action::Allow, vec![]).with_dry_run(true);
    let trial = set(&[Arc::new(allow)]);
    assert!(trial.evaluate(&conn).is_allowed());
    assert!(
        trial
            .dry_run(&conn)
            .is_some_and(|verdict| !verdict.is_allowed())
    );
    assert_eq!(set(&[strict()]).dry_run(&conn), None);
}

#[test]
fn addresses_are_compared_in_canonical_form() {
    let m = Match {
        source_ips: vec!["10.11.0.0/24".parse().unwrap()],
        destination_ips: vec!["10.12.0.9/32".parse().unwrap()],
        ..Match::default()
    };
    let allow = set(&[policy("a/allow", Action::Allow, vec![m])]);
    let mapped = Connection {
        peer: None,
        source: "::ffff:10.11.0.5".parse().unwrap(),
        destination: "[::ffff:10.12.0.9]:8080".parse::<SocketAddr>().unwrap(),
    };
    assert!(allow.evaluate(&mapped).is_allowed());
    let v6 = Connection {
        source: "fd10:11::5".parse().unwrap(),
        ..mapped
    };
    assert!(!allow.evaluate(&v6).is_allowed());
}

#[test]
fn explain_names_the_field_that_decides() {
    let web = peer("web", "a");
    let mut m = namespace("web");
    m.destination_ports = vec![9090];
    let set = set(&[
        policy("demo/allow", Action::Allow, vec![m]),
        Arc::new(Policy::malformed(
            "demo/broken",
            Action::Allow,
            "rules[0]: nonsense",
        )),
    ]);
    let explanation = explain(&set, &from(Some(&web)));
    assert!(!explanation.outcome.allowed);
    let allow = &explanation.policies[0];
    assert!(!allow.matched);
    let fields = &allow.rules[0].clauses[0].matches[0].fields;
    let by_field = |wanted| fields.iter().find(|f| f.field == wanted).unwrap();
    assert!(by_field(Field::Namespaces).matched);
    assert!(!by_field(Field::DestinationPorts).matched);
    assert_eq!(by_field(Field::DestinationPorts).actual, "8080");
    assert_eq!(fields.len(), 2);

    let text = explanation.to_string();
    for expected in [
        "denied (policy_not_allowed)",
        "[ ] ALLOW demo/allow",
        "destination_ports [9090] fails for 8080",
        "namespaces [web] holds for web",
        "could not be read and fails closed: rules[0]: nonsense",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}
