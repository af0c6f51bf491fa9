//! Policies: what they apply to, and that what is not known or cannot be read denies.

use std::sync::Arc;

use culvert_policy::{Connection, DenyReason, PolicySet, Principal, Verdict};
use culvert_proto::istio::security::{self as proto, Action, Scope};
use culvert_proto::istio::workload::Extension;
use culvert_proto::type_url::AUTHORIZATION;
use culvert_xds::state::{MissingPolicy, decode_policy};
use culvert_xds::{Handler as _, Rejected, Update};
use prost::Message as _;

use crate::common::{Fed, key, policy, rule, settings, target, uid, workload};

fn store(policies: &[&str]) -> Fed {
    let mut store = Fed::new();
    let mut workload = workload("w", "10.1.0.1");
    workload.authorization_policies = policies.iter().map(|name| (*name).to_owned()).collect();
    assert!(store.workload(workload).is_empty());
    store
}

fn applied(store: &Fed) -> Result<PolicySet, MissingPolicy> {
    let snapshot = store.0.snapshot();
    snapshot.policies_for(snapshot.workload(&uid("w")).unwrap())
}

fn names(set: &PolicySet) -> Vec<String> {
    let mut names: Vec<_> = set.iter().map(|policy| policy.name().to_string()).collect();
    names.sort();
    names
}

/// Why a client of a namespace is denied; `None` when it is not.
fn denied(set: &PolicySet, namespace: &str) -> Option<DenyReason> {
    let peer = Principal::new("cluster.local", namespace, "any").unwrap();
    let conn = Connection {
        peer: Some(&peer),
        source: "10.1.0.2".parse().unwrap(),
        destination: "10.1.0.1:80".parse().unwrap(),
    };
    match set.evaluate(&conn) {
        Verdict::Allow { .. } => None,
        Verdict::Deny { reason, .. } => Some(reason),
    }
}

#[test]
fn a_named_policy_that_is_not_known_denies_until_it_is() {
    let mut store = store(&["demo/b", "demo/a"]);
    store.policy(&policy("a", Action::Allow, "web"));
    let missing = MissingPolicy {
        name: "demo/b".into(),
    };
    assert_eq!(applied(&store).unwrap_err(), missing);
    store.policy(&policy("b", Action::Deny, "evil"));
    let set = applied(&store).unwrap();
    assert_eq!(names(&set), ["demo/a", "demo/b"]);
    assert_eq!(denied(&set, "web"), None);
    assert_eq!(denied(&set, "evil"), Some(DenyReason::PolicyDeny));
    store.remove(AUTHORIZATION, "demo/b");
    assert_eq!(applied(&store).unwrap_err(), missing);
}

#[test]
fn scopes_apply_without_being_named_and_targets_do_not() {
    let mut store = store(&[]);
    let scoped = |name: &str, scope: Scope| proto::Authorization {
        scope: scope.into(),
        ..policy(name, Action::Deny, "evil")
    };
    store.policy(&scoped("namespace", Scope::Namespace));
    store.policy(&scoped("selected", Scope::WorkloadSelector));
    let mesh = proto::Authorization {
        namespace: "culvert-system".into(),
        ..scoped("mesh", Scope::Global)
    };
    store.policy(&mesh);
    let elsewhere = proto::Authorization {
        namespace: "other".into(),
        ..scoped("elsewhere", Scope::Namespace)
    };
    store.policy(&elsewhere);
    let targeted = proto::Authorization {
        extensions: vec![target(&key("s"), 0)],
        ..scoped("targeted", Scope::Namespace)
    };
    store.policy(&targeted);
    assert_eq!(
        names(&applied(&store).unwrap()),
        ["culvert-system/mesh", "demo/namespace"]
    );

    store.policy(&scoped("namespace", Scope::WorkloadSelector));
    store.remove(AUTHORIZATION, "culvert-system/mesh");
    assert!(applied(&store).unwrap().is_empty());
}

#[test]
fn a_set_is_compiled_once_and_only_anew_when_it_may_have_changed() {
    let mut store = store(&["demo/a"]);
    store.policy(&policy("a", Action::Allow, "web"));
    let same = |one: &PolicySet, other: &PolicySet| {
        std::ptr::eq(one.iter().next().unwrap(), other.iter().next().unwrap())
    };
    let first = applied(&store).unwrap();
    assert!(same(&first, &applied(&store).unwrap()));
    store.policy(&policy("unrelated", Action::Allow, "web"));
    store.workload(workload("other", "10.1.0.2"));
    assert!(same(&first, &applied(&store).unwrap()));
    store.policy(&policy("a", Action::Allow, "changed"));
    let second = applied(&store).unwrap();
    assert!(!same(&first, &second));
    assert_eq!(
        denied(&first, "web"),
        None,
        "what was compiled does not change"
    );
    assert!(denied(&second, "web").is_some());
}

#[test]
fn a_bad_update_keeps_the_last_good_policy() {
    let mut store = store(&["demo/a"]);
    store.policy(&policy("a", Action::Allow, "web"));
    for body in [
        vec![0xff; 7],
        bad_rule(Action::Deny).encode_to_vec(),
        Vec::new(),
    ] {
        let rejected = store.put(AUTHORIZATION, "demo/a", body);
        assert_eq!(&*rejected[0].name, "demo/a");
        assert_eq!(denied(&applied(&store).unwrap(), "web"), None);
        assert!(denied(&applied(&store).unwrap(), "other").is_some());
    }
    store.remove(AUTHORIZATION, "demo/a");
    assert!(applied(&store).is_err());
}

/// `demo/a` with one rule that is fine and one that is not.
fn bad_rule(action: Action) -> proto::Authorization {
    let mut bad = policy("a", action, "web");
    let mut second = rule("web");
    second.clauses[0].matches[0].destination_ports = vec![65_536];
    bad.rules.push(second);
    bad
}

#[test]
fn a_policy_that_was_never_good_denies_what_it_targets() {
    for action in [Action::Allow, Action::Deny] {
        let mut store = store(&["demo/a"]);
        let rejected = store.policy(&bad_rule(action));
        assert_eq!(
            rejected[0].error,
            "rules[1].clauses[0].matches[0].destination_ports[0]: 65536 is no port"
        );
        let set = applied(&store).unwrap();
        assert!(denied(&set, "web").is_some(), "{action:?}");
        store.policy(&policy("a", Action::Allow, "web"));
        assert_eq!(denied(&applied(&store).unwrap(), "web"), None);
    }
}

#[test]
fn a_policy_that_was_never_good_denies_its_whole_scope() {
    let mut store = store(&[]);
    let mut bad = bad_rule(Action::Deny);
    bad.scope = Scope::Namespace.into();
    store.policy(&bad);
    assert_eq!(
        denied(&applied(&store).unwrap(), "web"),
        Some(DenyReason::PolicyMalformed)
    );
    store.remove(AUTHORIZATION, "demo/a");
    assert!(applied(&store).unwrap().is_empty());

    // Of this one only the name is known: its namespace, and everything if that is the root namespace.
    store.put(AUTHORIZATION, "other/x", vec![0xff; 7]);
    assert!(applied(&store).unwrap().is_empty());
    store.put(AUTHORIZATION, "root/x", vec![0xff; 7]);
    assert!(applied(&store).unwrap().is_empty());
    store.settings(&settings("cluster.local", "root"));
    assert_eq!(
        denied(&applied(&store).unwrap(), "web"),
        Some(DenyReason::PolicyMalformed)
    );
    store.remove(AUTHORIZATION, "root/x");
    store.put(AUTHORIZATION, "demo/x", vec![0xff; 7]);
    assert_eq!(
        denied(&applied(&store).unwrap(), "web"),
        Some(DenyReason::PolicyMalformed)
    );
}

#[test]
fn a_policy_without_a_body_denies_too() {
    let mut store = store(&[]);
    let unreadable = |name: &str| Update {
        unreadable: vec![Rejected {
            name: name.into(),
            error: "has no body".into(),
        }],
        ..Update::default()
    };
    store.0.apply(AUTHORIZATION, unreadable(""));
    assert!(applied(&store).unwrap().is_empty());
    store.0.apply(AUTHORIZATION, unreadable("demo/x"));
    assert_eq!(
        denied(&applied(&store).unwrap(), "web"),
        Some(DenyReason::PolicyMalformed)
    );
    store.remove(AUTHORIZATION, "demo/x");
    assert!(applied(&store).unwrap().is_empty());
}

#[test]
fn a_dry_run_that_cannot_be_read_is_not_enforced() {
    let mut store = store(&["demo/a"]);
    let mut bad = bad_rule(Action::Deny);
    bad.dry_run = true;
    assert_eq!(store.policy(&bad).len(), 1);
    assert_eq!(denied(&applied(&store).unwrap(), "web"), None);
}

#[test]
fn policies_for_services_are_found_by_port() {
    let mut store = Fed::new();
    let targeted = |name: &str, targets: &[(&str, u32)]| proto::Authorization {
        extensions: targets
            .iter()
            .map(|(service, port)| target(&key(service), *port))
            .collect(),
        ..policy(name, Action::Deny, "evil")
    };
    store.policy(&targeted("all", &[("s", 0), ("t", 80)]));
    store.policy(&targeted("one", &[("s", 80)]));
    let of = |store: &Fed, service: &str, port| {
        names(&store.0.snapshot().policies_for_service(&key(service), port))
    };
    assert_eq!(of(&store, "s", 80), ["demo/all", "demo/one"]);
    assert_eq!(of(&store, "s", 90), ["demo/all"]);
    assert_eq!(of(&store, "t", 80), ["demo/all"]);
    assert!(of(&store, "t", 90).is_empty());
    assert!(of(&store, "u", 80).is_empty());

    store.policy(&targeted("all", &[("u", 0)]));
    assert_eq!(of(&store, "s", 80), ["demo/one"]);
    assert!(of(&store, "s", 90).is_empty());
    assert_eq!(of(&store, "u", 80), ["demo/all"]);
    store.remove(AUTHORIZATION, "demo/one");
    assert!(of(&store, "s", 80).is_empty());
}

#[test]
fn a_policy_whose_targets_are_unknown_denies_at_every_service_of_its_namespace() {
    let mut store = Fed::new();
    let bad = proto::Authorization {
        extensions: vec![Extension {
            name: "culvert.dev/targets".into(),
            config: None,
        }],
        ..policy("a", Action::Allow, "web")
    };
    assert!(
        store.policy(&bad)[0]
            .error
            .starts_with("extensions[0].config")
    );
    let snapshot = store.0.snapshot();
    assert!(denied(&snapshot.policies_for_service(&key("s"), 80), "web").is_some());
    assert!(
        snapshot
            .policies_for_service("other/s.other", 80)
            .is_empty()
    );
}

#[test]
fn a_dry_run_with_unknown_targets_takes_nothing_away() {
    let mut store = Fed::new();
    let deny = proto::Authorization {
        extensions: vec![target(&key("s"), 0)],
        ..policy("deny", Action::Deny, "evil")
    };
    let bad = proto::Authorization {
        scope: 9,
        dry_run: true,
        ..policy("trial", Action::Deny, "web")
    };
    store.policy(&deny);
    store.policy(&bad);
    let set = store.0.snapshot().policies_for_service(&key("s"), 80);
    assert_eq!(names(&set), ["demo/deny", "demo/trial"]);
    assert_eq!(denied(&set, "evil"), Some(DenyReason::PolicyDeny));
    assert_eq!(denied(&set, "web"), None);
}

#[test]
fn every_part_of_a_policy_is_validated() {
    let matched = |change: &dyn Fn(&mut proto::Match)| {
        let mut policy = policy("a", Action::Deny, "web");
        change(&mut policy.rules[0].clauses[0].matches[0]);
        policy
    };
    let string = |text: &str| proto::StringMatch {
        match_type: Some(proto::string_match::MatchType::Suffix(text.into())),
    };
    let block = |bytes: &[u8], length| proto::Address {
        address: bytes.to_vec().into(),
        length,
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 0];
    let mut wrong_action = policy("a", Action::Deny, "web");
    wrong_action.action = 2;
    let mut wrong_scope = policy("a", Action::Deny, "web");
    wrong_scope.scope = 3;
    let cases = [
        ("action", wrong_action),
        ("scope", wrong_scope),
        ("namespace, name", policy("b", Action::Deny, "web")),
        (
            "rules[0].clauses[0].matches[0].namespaces[1]",
            matched(&|m| m.namespaces.push(string(""))),
        ),
        (
            "rules[0].clauses[0].matches[0].principals[0]",
            matched(&|m| m.principals = vec![Default::default()]),
        ),
        (
            "rules[0].clauses[0].matches[0].not_service_accounts[0].serviceAccount",
            matched(&|m| {
                m.not_service_accounts = vec![proto::ServiceAccountMatch {
                    namespace: "a".into(),
                    service_account: String::new(),
                }];
            }),
        ),
        (
            "rules[0].clauses[0].matches[0].source_ips[0].length",
            matched(&|m| m.source_ips = vec![block(&[10, 0, 0, 0], 33)]),
        ),
        (
            "rules[0].clauses[0].matches[0].source_ips[0].length",
            matched(&|m| m.source_ips = vec![block(&mapped, 95)]),
        ),
        (
            "rules[0].clauses[0].matches[0].destination_ips[0].address",
            matched(&|m| m.destination_ips = vec![block(&[10], 8)]),
        ),
        (
            "rules[0].clauses[0].matches[0].not_destination_ports[0]",
            matched(&|m| m.not_destination_ports = vec![0]),
        ),
    ];
    for (field, policy) in cases {
        let error = decode_policy(&"demo/a".into(), &policy.encode_to_vec(), "root").unwrap_err();
        assert_eq!(error.error.field, field);
        let set: PolicySet = [error.stand_in.policy].into_iter().collect();
        assert!(denied(&set, "anyone").is_some());
    }

    let good = matched(&|m| m.source_ips = vec![block(&mapped, 104)]);
    let good = decode_policy(&"demo/a".into(), &good.encode_to_vec(), "root").unwrap();
    let source = good.policy.rules()[0].clauses[0].matches[0].source_ips[0];
    assert_eq!(source.to_string(), "10.0.0.0/8");
}

#[test]
fn a_condition_of_a_later_version_fails_closed() {
    let unknown = |action| {
        let mut policy = policy("a", action, "web");
        policy.rules[0].clauses[0].matches[0].extensions = vec![Extension {
            name: "culvert.dev/paths".into(),
            config: None,
        }];
        let decoded = decode_policy(&"demo/a".into(), &policy.encode_to_vec(), "root").unwrap();
        PolicySet::new([Arc::clone(&decoded.policy)])
    };
    assert!(denied(&unknown(Action::Allow), "web").is_some());
    assert!(denied(&unknown(Action::Deny), "web").is_some());
    assert!(denied(&unknown(Action::Deny), "other").is_none());
}
