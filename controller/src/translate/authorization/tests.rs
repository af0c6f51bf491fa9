//! What policies become, and that what is not understood makes them stricter.

use serde_json::{Value, json};

use super::*;
use crate::testing::{culvert, pod_value, service, waypoint, world};

fn policy(spec: Value) -> Value {
    culvert("AuthorizationPolicy", "demo", "p", spec)
}

fn made(objects: &[Value]) -> (Option<Authorization>, Vec<Finding>) {
    let world = world(objects);
    let policy = world.cache.authorization_policies.iter().next().unwrap();
    let (resource, findings) = of(&world, policy);
    let record = resource.map(|resource| match resource.message {
        Message::Authorization(record) => record,
        other => panic!("{other:?}"),
    });
    (record, findings)
}

fn rules(spec: Value) -> Vec<wire::Rule> {
    made(&[policy(spec)]).0.unwrap().rules
}

#[test]
fn fields_become_fields() {
    let rules = rules(json!({"rules": [{
        "from": [{"source": {"principals": ["a", "b*", "*c", "*"], "notNamespaces": ["x"], "ipBlocks": ["10.1.2.3/8"]}},
                 {"source": {"serviceAccounts": ["one", "ns/two"]}}],
        "to": [{"operation": {"ports": ["80"], "notPorts": [81]}}],
        "when": [{"key": "destination.ip", "values": ["fd00::1"], "notValues": ["10.0.0.0/24"]}]}]}));
    let [rule] = rules.as_slice() else { panic!() };
    let [from, to, when] = rule.clauses.as_slice() else {
        panic!()
    };
    let kinds: Vec<_> = from.matches[0]
        .principals
        .iter()
        .map(|m| m.match_type.clone().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            MatchType::Exact("a".into()),
            MatchType::Prefix("b".into()),
            MatchType::Suffix("c".into()),
            MatchType::Presence(())
        ]
    );
    assert_eq!(from.matches[0].source_ips[0].length, 8);
    assert_eq!(
        from.matches[0].source_ips[0].address.as_ref(),
        [10, 0, 0, 0]
    );
    let accounts: Vec<_> = from.matches[1]
        .service_accounts
        .iter()
        .map(|a| (a.namespace.as_str(), a.service_account.as_str()))
        .collect();
    assert_eq!(accounts, [("demo", "one"), ("ns", "two")]);
    assert_eq!(
        (
            &to.matches[0].destination_ports,
            &to.matches[0].not_destination_ports
        ),
        (&vec![80], &vec![81])
    );
    assert_eq!(when.matches[0].destination_ips[0].length, 128);
    assert_eq!(when.matches[0].not_destination_ips[0].length, 24);
}

#[test]
fn an_empty_rule_matches_everything_and_no_rule_nothing() {
    assert_eq!(rules(json!({"rules": [{}]})), [everything()]);
    assert_eq!(rules(json!({})), []);
    assert!(
        everything()
            .clauses
            .iter()
            .all(|clause| clause.matches.iter().all(|m| *m != Match::default()))
    );
}

#[test]
fn http_permits_nothing_and_denies_as_if_it_were_not_there() {
    let spec = |action: &str| {
        json!({"action": action, "rules": [
        {"to": [{"operation": {"methods": ["GET"]}}]},
        {"from": [{"source": {"principals": ["a"]}}], "to": [{"operation": {"ports": ["80"], "paths": ["/x"]}}]},
        {"from": [{"source": {"principals": ["a"], "requestPrincipals": ["*"]}}, {"source": {"principals": ["b"]}}]},
        {"from": [{"source": {"principals": ["a"]}}], "when": [{"key": "request.headers[x]", "values": ["y"]}]}]})
    };
    let principals = |clause: &Clause| -> Vec<String> {
        let names = clause.matches.iter().flat_map(|m| &m.principals);
        names
            .map(|m| match m.match_type.clone() {
                Some(MatchType::Exact(name)) => name,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let allow = rules(spec("ALLOW"));
    assert_eq!(allow.len(), 1);
    assert_eq!(principals(&allow[0].clauses[0]), ["b"]);
    let deny = rules(spec("DENY"));
    assert_eq!(deny.len(), 4);
    assert_eq!(deny[0], everything());
    assert_eq!(deny[1].clauses[1].matches[0].destination_ports, [80]);
    assert_eq!(principals(&deny[2].clauses[0]), ["a", "b"]);
    assert_eq!(deny[3].clauses.len(), 1);
    let findings = made(&[policy(spec("ALLOW"))]).1;
    assert_eq!(findings.len(), 4);
    assert!(
        findings
            .iter()
            .all(|f| f.reason == "HTTPNotEvaluated" && !f.error)
    );
}

#[test]
fn reach() {
    let selector = json!({"selector": {"matchLabels": {"app": "web"}}});
    let scope = |namespace: &str, spec: &Value| {
        made(&[culvert("AuthorizationPolicy", namespace, "p", spec.clone())])
            .0
            .unwrap()
            .scope()
    };
    assert_eq!(scope("demo", &json!({})), Scope::Namespace);
    assert_eq!(scope("culvert-system", &json!({})), Scope::Global);
    assert_eq!(scope("culvert-system", &selector), Scope::WorkloadSelector);
    let named = |namespace: &str, spec: &Value| {
        let world = world(&[
            culvert("AuthorizationPolicy", namespace, "p", spec.clone()),
            pod_value("demo", "web", "10.0.0.1"),
        ]);
        let pod = world.cache.pods.iter().next().unwrap();
        !policies_of(&world, pod).is_empty()
    };
    for namespace in ["demo", "culvert-system"] {
        assert!(named(namespace, &json!({})));
        assert!(named(namespace, &selector));
        assert!(!named(
            namespace,
            &json!({"selector": {"matchLabels": {"app": "api"}}})
        ));
    }
    assert!(!named("other", &json!({})));
    assert!(!named(
        "demo",
        &json!({"targetRefs": [{"kind": "Service", "name": "web"}]})
    ));
}

#[test]
fn a_policy_for_a_service_carries_its_targets() {
    let targets =
        json!({"targetRefs": [{"kind": "Service", "name": "web", "sectionName": "http"}]});
    let mut web = service("demo", "web", "web", "10.96.0.1");
    let (record, findings) = made(&[policy(targets.clone()), web.clone()]);
    let record = record.unwrap();
    assert_eq!(record.scope(), Scope::WorkloadSelector);
    assert_eq!(
        (findings[0].reason, findings[0].error),
        ("NoWaypoint", true)
    );
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let gate = waypoint("demo", "gate", "10.0.0.9");
    let (record_with, findings) = made(&[policy(targets.clone()), web.clone(), gate.clone()]);
    assert_eq!((record_with.as_ref(), findings.len()), (Some(&record), 0));
    let target = |record: &Authorization| {
        let config = record.extensions[0].config.clone().unwrap();
        ServiceRef::decode(config.value.as_slice()).unwrap()
    };
    let expected = |port| ServiceRef {
        service: "demo/web.demo.svc.cluster.local".into(),
        port,
    };
    assert_eq!(target(&record), expected(80));
    let gateway = json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}]});
    let (record, findings) = made(&[
        policy(gateway),
        web,
        gate,
        service("demo", "other", "other", "10.96.0.2"),
    ]);
    let record = record.unwrap();
    assert_eq!((record.extensions.len(), findings.len()), (1, 0));
    assert_eq!(target(&record), expected(0));
}

#[test]
fn a_target_that_does_not_exist_is_an_error_with_its_field() {
    let refs = json!({"targetRefs": [{"kind": "Service", "name": "web"},
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}]});
    let (record, findings) = made(&[policy(refs)]);
    assert!(record.is_none());
    let found: Vec<_> = findings
        .iter()
        .map(|f| (f.reason, f.field.to_string(), f.error))
        .collect();
    assert_eq!(
        found,
        [
            ("TargetNotFound", "spec.targetRefs[0].name".to_owned(), true),
            ("TargetNotFound", "spec.targetRefs[1].name".to_owned(), true)
        ]
    );
}
