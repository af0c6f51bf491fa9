//! Verdicts by snapshot: which reason, which policy, and what is closed when rules change.

use culvert_proto::node::{
    EgressBlock, EgressPeer, EgressPolicy, EgressPorts, EgressRule, egress_peer::Peer,
};

use super::*;
use crate::testing::{Mesh, uid, workload};

fn policy(name: &str, to: Vec<Peer>, port: u32) -> EgressPolicy {
    EgressPolicy {
        namespace: "demo".into(),
        name: name.into(),
        rules: vec![EgressRule {
            to: to
                .into_iter()
                .map(|peer| EgressPeer { peer: Some(peer) })
                .collect(),
            ports: vec![EgressPorts {
                first: port,
                last: port,
            }],
        }],
    }
}

fn block(cidr: &str) -> Peer {
    Peer::Block(EgressBlock {
        cidr: cidr.into(),
        except: vec![],
    })
}

fn rules(mesh: &Mesh) -> Rules {
    let snapshot = mesh.snapshot();
    Rules::of_workload(&snapshot, snapshot.workload(&uid("demo", "web")).unwrap())
}

fn verdict(mesh: &Mesh, to: &str, name: Option<&str>) -> Result<(), (DenyReason, Option<String>)> {
    let leave = Leave {
        to: to.parse().unwrap(),
        name: name.map(Into::into),
    };
    let verdict = rules(mesh).judge(&leave);
    verdict.map_err(|denial| {
        (
            denial.reason,
            denial.policy.map(|policy| policy.to_string()),
        )
    })
}

#[test]
fn each_refusal_has_its_reason_and_its_policy() {
    let mesh = Mesh::new([workload("demo", "web").egress("demo/a").into()]);
    let by_a = |reason| Err((reason, Some("demo/a".to_owned())));
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", None),
        Err((DenyReason::PolicyMissing, None))
    );
    mesh.put_egress(&policy(
        "a",
        vec![block("192.0.2.0/24"), Peer::Host("api.example.com".into())],
        443,
    ));
    assert_eq!(verdict(&mesh, "192.0.2.1:443", None), Ok(()));
    assert_eq!(
        verdict(&mesh, "192.0.2.1:80", None),
        by_a(DenyReason::EgressNotAllowed)
    );
    assert_eq!(
        verdict(&mesh, "198.51.100.1:443", None),
        by_a(DenyReason::EgressNameMissing)
    );
    assert_eq!(
        verdict(&mesh, "198.51.100.1:443", Some("api.example.com")),
        Ok(())
    );
    assert_eq!(
        verdict(&mesh, "198.51.100.1:443", Some("x.example.com")),
        by_a(DenyReason::EgressNotAllowed)
    );
    mesh.put_egress(&EgressPolicy {
        rules: vec![],
        ..policy("a", vec![], 1)
    });
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", Some("api.example.com")),
        by_a(DenyReason::EgressNotAllowed)
    );
    mesh.remove(culvert_proto::type_url::EGRESS_POLICY, "demo/a");
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", None),
        Err((DenyReason::PolicyMissing, None))
    );
}

#[test]
fn without_policies_the_meshs_setting_decides() {
    let mesh = Mesh::new([workload("demo", "web").into()]);
    assert_eq!(verdict(&mesh, "192.0.2.1:443", None), Ok(()));
    mesh.registry_only();
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", None),
        Err((DenyReason::EgressRegistryOnly, None))
    );
    mesh.put_egress(&policy("a", vec![block("192.0.2.0/24")], 443));
    assert!(
        verdict(&mesh, "192.0.2.1:443", None).is_err(),
        "it is for others"
    );
    mesh.put(workload("demo", "web").egress("demo/a").into());
    assert_eq!(verdict(&mesh, "192.0.2.1:443", None), Ok(()));
}

#[test]
fn what_cannot_be_read_changes_nothing_and_is_unknown_if_it_never_was_good() {
    let mesh = Mesh::new([workload("demo", "web").egress("demo/a").into()]);
    let bad = policy("a", vec![Peer::Host("*".into())], 443);
    assert_eq!(mesh.try_put_egress(&bad).len(), 1);
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", None),
        Err((DenyReason::PolicyMissing, None))
    );
    mesh.put_egress(&policy("a", vec![block("192.0.2.0/24")], 443));
    assert_eq!(mesh.try_put_egress(&bad).len(), 1);
    assert_eq!(
        verdict(&mesh, "192.0.2.1:443", None),
        Ok(()),
        "the last good one stays"
    );
    for bad in [
        policy("a", vec![block("192.0.2.0/33")], 443),
        policy("a", vec![block("192.0.2.0/24")], 0),
        EgressPolicy {
            rules: vec![EgressRule {
                to: vec![EgressPeer { peer: None }],
                ports: vec![],
            }],
            ..policy("a", vec![], 1)
        },
    ] {
        let rejected = mesh.try_put_egress(&bad);
        assert!(rejected[0].error.starts_with("rules[0]."), "{rejected:?}");
    }
}

#[test]
fn rules_are_the_same_until_something_of_them_changes() {
    let mesh = Mesh::new([workload("demo", "web").egress("demo/a").into()]);
    let unknown = rules(&mesh);
    mesh.put_egress(&policy("a", vec![block("192.0.2.0/24")], 443));
    let known = rules(&mesh);
    assert!(!known.is_same(&unknown));
    mesh.put(workload("demo", "other").into());
    assert!(known.is_same(&rules(&mesh)));
    mesh.put_egress(&policy("a", vec![block("192.0.2.0/25")], 443));
    assert!(!known.is_same(&rules(&mesh)));
    mesh.put(workload("demo", "web").into());
    let free = rules(&mesh);
    assert!(!known.is_same(&free) && free.is_same(&rules(&mesh)));
}
