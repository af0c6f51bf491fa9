//! Verdicts, and the race between a change of policy and an accept.

use super::*;
use crate::proxy::connections::{Connections, Quota};
use crate::telemetry::{Direction, Facts};
use crate::testing::{Mesh, service, uid, workload};
use culvert_policy::Principal;
use culvert_proto::istio::security::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match::MatchType,
};
use culvert_proto::type_url;

const DENY_BAD: &str = "demo/deny-bad";

fn identity(namespace: &str, name: &str) -> (SpiffeId, Principal) {
    let id: SpiffeId = format!("spiffe://cluster.local/ns/{namespace}/sa/{name}")
        .parse()
        .unwrap();
    (
        id.clone(),
        Principal::new(id.trust_domain(), id.namespace(), id.service_account()).unwrap(),
    )
}

fn subject(peer: Option<(&str, &str)>) -> Subject {
    Subject {
        peer: peer.map(|(namespace, name)| identity(namespace, name)),
        source: [10, 0, 0, 9].into(),
        destination: "10.0.1.1:8080".parse().unwrap(),
    }
}

fn policy(name: &str, action: Action, matches: Match) -> Authorization {
    Authorization {
        namespace: "demo".into(),
        name: name.into(),
        scope: Scope::WorkloadSelector.into(),
        action: action.into(),
        rules: vec![Rule {
            clauses: vec![Clause {
                matches: vec![matches],
            }],
        }],
        ..Default::default()
    }
}

fn principal(text: &str) -> StringMatch {
    StringMatch {
        match_type: Some(MatchType::Exact(text.into())),
    }
}

fn deny_bad() -> Authorization {
    let bad = principal("cluster.local/ns/demo/sa/bad");
    policy(
        "deny-bad",
        Action::Deny,
        Match {
            principals: vec![bad],
            ..Default::default()
        },
    )
}

fn strict() -> Authorization {
    let anybody = StringMatch {
        match_type: Some(MatchType::Presence(())),
    };
    policy(
        "strict",
        Action::Deny,
        Match {
            not_principals: vec![anybody],
            ..Default::default()
        },
    )
}

fn rules(mesh: &Mesh, name: &str) -> Rules {
    let snapshot = mesh.snapshot();
    Rules::of_workload(&snapshot, snapshot.workload(&uid("demo", name)).unwrap())
}

fn verdict(mesh: &Mesh, name: &str, peer: Option<(&str, &str)>) -> Result<(), DenyReason> {
    rules(mesh, name)
        .judge(&subject(peer))
        .map_err(|denial| denial.reason)
}

#[test]
fn what_is_unknown_denies() {
    let mesh = Mesh::new([workload("demo", "web")
        .ip("10.0.1.1")
        .policy(DENY_BAD)
        .into()]);
    assert_eq!(
        verdict(&mesh, "web", Some(("demo", "good"))),
        Err(DenyReason::PolicyMissing)
    );
    mesh.put_policy(&deny_bad());
    assert_eq!(verdict(&mesh, "web", Some(("demo", "good"))), Ok(()));
    let denial = rules(&mesh, "web")
        .judge(&subject(Some(("demo", "bad"))))
        .unwrap_err();
    assert_eq!(
        (denial.reason, denial.policy.as_deref()),
        (DenyReason::PolicyDeny, Some(DENY_BAD))
    );
}

#[test]
fn strict_denies_who_is_nobody() {
    let mesh = Mesh::new([workload("demo", "web")
        .ip("10.0.1.1")
        .policy("demo/strict")
        .into()]);
    mesh.put_policy(&strict());
    assert_eq!(verdict(&mesh, "web", None), Err(DenyReason::MtlsRequired));
    assert_eq!(verdict(&mesh, "web", Some(("demo", "any"))), Ok(()));
}

#[test]
fn a_waypoint_has_asked_the_policies_about_its_clients_and_other_peers_are_asked_here() {
    let web = "demo/web.demo.svc.cluster.local";
    let only_good = Match {
        principals: vec![principal("cluster.local/ns/demo/sa/good")],
        ..Default::default()
    };
    let mesh = Mesh::new([
        service("demo", "web")
            .vip("10.96.0.1")
            .port(80, 8080)
            .waypoint("10.0.2.1")
            .into(),
        workload("demo", "web")
            .ip("10.0.1.1")
            .of(web)
            .policy("demo/only-good")
            .into(),
        workload("infra", "waypoint").ip("10.0.2.1").into(),
    ]);
    mesh.put_policy(&policy("only-good", Action::Allow, only_good));
    assert_eq!(verdict(&mesh, "web", Some(("infra", "waypoint"))), Ok(()));
    assert_eq!(
        verdict(&mesh, "web", Some(("demo", "waypoint"))),
        Err(DenyReason::PolicyNotAllowed)
    );
    assert_eq!(
        verdict(&mesh, "web", Some(("demo", "good"))),
        Ok(()),
        "going around a service's waypoint is legal"
    );
    assert_eq!(
        verdict(&mesh, "web", None),
        Err(DenyReason::PolicyNotAllowed)
    );
}

#[test]
fn a_workload_with_a_waypoint_of_its_own_admits_nobody_else() {
    let mesh = Mesh::new([
        workload("demo", "web")
            .ip("10.0.1.1")
            .waypoint("10.0.2.1")
            .into(),
        workload("demo", "lost")
            .ip("10.0.1.2")
            .waypoint("10.0.2.9")
            .into(),
        workload("infra", "waypoint").ip("10.0.2.1").into(),
    ]);
    assert_eq!(verdict(&mesh, "web", Some(("infra", "waypoint"))), Ok(()));
    assert_eq!(
        verdict(&mesh, "web", Some(("demo", "good"))),
        Err(DenyReason::WaypointRequired)
    );
    assert_eq!(
        verdict(&mesh, "web", None),
        Err(DenyReason::WaypointRequired)
    );
    assert_eq!(
        verdict(&mesh, "lost", Some(("infra", "waypoint"))),
        Err(DenyReason::WaypointRequired)
    );
}

#[test]
fn rules_are_the_same_only_when_nothing_differs() {
    let mesh = Mesh::new([workload("demo", "web")
        .ip("10.0.1.1")
        .policy(DENY_BAD)
        .into()]);
    let missing = rules(&mesh, "web");
    assert!(missing.is_same(&rules(&mesh, "web")));
    mesh.put_policy(&deny_bad());
    let known = rules(&mesh, "web");
    assert!(!known.is_same(&missing));
    mesh.put(workload("demo", "other").ip("10.0.1.2").into());
    assert!(
        known.is_same(&rules(&mesh, "web")),
        "another workload changes nothing"
    );
    mesh.put_policy(&policy("deny-bad", Action::Deny, Match::default()));
    assert!(!known.is_same(&rules(&mesh, "web")));
}

/// What each side of the race does, in its own order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Admit,
    Judge,
    Change,
    Sweep,
}

/// Every order of `Admit -> Judge` and `Change -> Sweep`.
const ORDERS: [[Step; 4]; 6] = {
    use Step::{Admit, Change, Judge, Sweep};
    [
        [Admit, Judge, Change, Sweep],
        [Admit, Change, Judge, Sweep],
        [Admit, Change, Sweep, Judge],
        [Change, Admit, Judge, Sweep],
        [Change, Admit, Sweep, Judge],
        [Change, Sweep, Admit, Judge],
    ]
};

#[tokio::test]
async fn a_change_that_races_with_an_accept_loses_to_deny_in_every_order() {
    for order in ORDERS {
        let mesh = Mesh::new([workload("demo", "web").ip("10.0.1.1").into()]);
        let connections = Connections::new(10, Quota::new(10));
        let facts = Facts::new(
            Direction::Inbound,
            "10.0.0.9:1".parse().unwrap(),
            "10.0.1.1:8080".parse().unwrap(),
        );
        let mut connection = connections.open(facts).unwrap();
        let mut stop = connection.take_stop();
        let subject = subject(Some(("demo", "bad")));
        let mut refused = false;
        for step in order {
            match step {
                Step::Admit => connection.admit(subject.clone()),
                Step::Judge => refused = rules(&mesh, "web").judge(&subject).is_err(),
                Step::Change => {
                    mesh.put(
                        workload("demo", "web")
                            .ip("10.0.1.1")
                            .policy(DENY_BAD)
                            .into(),
                    );
                    mesh.put_policy(&deny_bad());
                }
                Step::Sweep => {
                    let rules = rules(&mesh, "web");
                    connections.sweep(|subject| rules.judge(subject));
                }
            }
        }
        if !refused {
            let denial =
                tokio::time::timeout(std::time::Duration::from_secs(5), stop.stopped()).await;
            assert_eq!(
                denial.expect("still open").reason,
                DenyReason::PolicyDeny,
                "{order:?}"
            );
        }
    }
}

#[test]
fn what_is_allowed_again_stays_refused_only_for_who_was_told() {
    let mesh = Mesh::new([workload("demo", "web")
        .ip("10.0.1.1")
        .policy(DENY_BAD)
        .into()]);
    mesh.put_policy(&deny_bad());
    let connections = Connections::new(10, Quota::new(10));
    let facts = || {
        Facts::new(
            Direction::Inbound,
            "10.0.0.9:1".parse().unwrap(),
            "10.0.1.1:8080".parse().unwrap(),
        )
    };
    let (bad, good) = (
        connections.open(facts()).unwrap(),
        connections.open(facts()).unwrap(),
    );
    bad.admit(subject(Some(("demo", "bad"))));
    good.admit(subject(Some(("demo", "good"))));
    assert!(connections.has_fresh());
    let judged = rules(&mesh, "web");
    assert_eq!(connections.sweep(|subject| judged.judge(subject)), 1);
    assert_eq!(
        connections.sweep(|subject| judged.judge(subject)),
        0,
        "nobody is told twice"
    );
    assert!(!connections.has_fresh());
    mesh.remove(type_url::AUTHORIZATION, DENY_BAD);
    let judged = rules(&mesh, "web");
    assert_eq!(
        connections.sweep(|subject| judged.judge(subject)),
        1,
        "a policy that is missing denies the other too"
    );
}
