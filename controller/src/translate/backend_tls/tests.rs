//! Which policy holds, whom it trusts, and what is said of it.

use serde_json::{Value, json};

use super::*;
use crate::testing::{backend_tls, config_map, pairs, service, world};

const CA: &str = "caCertificateRefs";

fn refs(names: &[(&str, &str)]) -> Value {
    let one = |(kind, name): &(&str, &str)| json!({"group": "", "kind": kind, "name": name});
    names.iter().map(one).collect()
}

fn policy(name: &str, target: (&str, Option<&str>)) -> Value {
    let validation =
        json!({"hostname": format!("{name}.example"), CA: refs(&[("ConfigMap", "ca")])});
    backend_tls("demo", name, target, validation)
}

fn mesh(policies: &[Value]) -> World {
    let mut objects = vec![
        service("demo", "web", "a", "10.96.0.1"),
        config_map("demo", "ca", &pairs()[0].0),
        config_map("demo", "bad", "x"),
        config_map("far", "other", &pairs()[0].0),
    ];
    objects.extend(policies.iter().cloned());
    world(&objects)
}

fn made(world: &World, name: &str) -> (Option<BackendTlsPolicy>, Vec<(String, String, String)>) {
    let policy = world.cache.backend_tls.get(&NsName::new("demo", name));
    let (resource, findings, _) = of(world, policy.unwrap());
    let record = resource.map(|resource| match resource.message {
        Message::BackendTlsPolicy(record) => record,
        other => panic!("{other:?}"),
    });
    let found = findings.into_iter().map(|f| {
        assert!(f.error && !f.message.is_empty());
        (
            f.condition.as_str().to_owned(),
            f.reason.to_owned(),
            f.field.to_string(),
        )
    });
    (record, found.collect())
}

fn word(condition: &str, reason: &str, field: &str) -> (String, String, String) {
    (condition.into(), reason.into(), field.into())
}

fn ports(record: &BackendTlsPolicy) -> Vec<(String, u32)> {
    let targets = record.targets.iter().map(|target| match &target.kind {
        Some(backend_tls_target::Kind::Service(service)) => (service.service.clone(), service.port),
        None => panic!(),
    });
    targets.collect()
}

#[test]
fn what_is_written_is_told() {
    let names =
        json!([{"type": "Hostname", "hostname": "x.example"}, {"type": "URI", "uri": "a:b"}]);
    let validation = json!({"hostname": "a.example", "wellKnownCACertificates": "System", "subjectAltNames": names});
    let system = backend_tls("demo", "system", ("web", Some("http")), validation);
    let whole = policy("whole", ("web", None));
    let world = mesh(&[system, whole]);
    let (record, found) = made(&world, "system");
    let record = record.unwrap();
    assert_eq!(found, []);
    let web = "demo/web.demo.svc.cluster.local".to_owned();
    assert_eq!(ports(&record), [(web.clone(), 80)]);
    assert_eq!(record.hostname, "a.example");
    assert_eq!(record.trust, Some(Trust::System(true)));
    let kinds: Vec<_> = record
        .subject_alt_names
        .into_iter()
        .map(|n| n.kind.unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            subject_alt_name::Kind::Hostname("x.example".into()),
            subject_alt_name::Kind::Uri("a:b".into())
        ]
    );
    // One for a port and one for all are no conflict.
    let (record, found) = made(&world, "whole");
    let record = record.unwrap();
    assert_eq!((ports(&record), found), (vec![(web, 0)], vec![]));
    let expected = Trust::CertificateAuthorities(pairs()[0].0.clone());
    assert_eq!(record.trust, Some(expected));
}

#[test]
fn of_several_for_the_same_the_oldest_holds_then_the_first_by_name() {
    let created = |mut policy: Value, time: &str| {
        policy["metadata"]["creationTimestamp"] = json!(time);
        policy
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    let web = ("web", Some("http"));
    let world = mesh(&[
        created(policy("a", web), new),
        created(policy("b", web), old),
        created(policy("c", web), old),
        created(policy("d", ("web", Some(""))), new),
        created(policy("e", ("web", None)), new),
    ]);
    let conflict = vec![word("Accepted", "Conflicted", "spec.targetRefs[0]")];
    for (name, holds) in [
        ("a", false),
        ("b", true),
        ("c", false),
        ("d", true),
        ("e", false),
    ] {
        let (record, found) = made(&world, name);
        assert_eq!(record.is_some(), holds, "{name}");
        assert_eq!(
            found,
            if holds { vec![] } else { conflict.clone() },
            "{name}"
        );
    }
}

#[test]
fn who_cannot_be_trusted_is_not_reached() {
    let invalid = ("ResolvedRefs", "InvalidCACertificateRef");
    let none = word(
        "Accepted",
        "NoValidCACertificate",
        "spec.validation.caCertificateRefs",
    );
    for (references, (condition, reason), field) in [
        (&[("ConfigMap", "gone")][..], invalid, "name"),
        (&[("ConfigMap", "bad")], invalid, "name"),
        // References stay in their namespace.
        (&[("ConfigMap", "other")], invalid, "name"),
        (&[("Secret", "ca")], ("ResolvedRefs", "InvalidKind"), "kind"),
    ] {
        let validation = json!({"hostname": "a.example", CA: refs(references)});
        let world = mesh(&[backend_tls("demo", "p", ("web", None), validation)]);
        let (record, found) = made(&world, "p");
        let field = format!("spec.validation.caCertificateRefs[0].{field}");
        assert_eq!(found, [word(condition, reason, &field), none.clone()]);
        let trust = record.unwrap().trust;
        assert!(matches!(trust, Some(Trust::Unresolved(_))), "{trust:?}");
    }
}

#[test]
fn one_good_reference_is_enough_and_the_others_are_named() {
    let validation = json!({"hostname": "a.example", CA: refs(&[("ConfigMap", "bad"), ("ConfigMap", "ca"), ("ConfigMap", "ca")])});
    let world = mesh(&[backend_tls("demo", "p", ("web", None), validation)]);
    let (record, found) = made(&world, "p");
    let field = "spec.validation.caCertificateRefs[0].name";
    assert_eq!(
        found,
        [word("ResolvedRefs", "InvalidCACertificateRef", field)]
    );
    let expected = Trust::CertificateAuthorities(pairs()[0].0.clone());
    assert_eq!(record.unwrap().trust, Some(expected));
}

#[test]
fn a_policy_that_is_wrong_keeps_its_targets_from_being_reached() {
    let world = mesh(&[
        backend_tls(
            "demo",
            "wrong",
            ("web", None),
            json!({"hostname": "a.example"}),
        ),
        policy("late", ("web", None)),
    ]);
    // The first by name holds, however wrong it is.
    let (record, found) = made(&world, "late");
    assert_eq!(found, []);
    assert!(record.is_some());
    let (record, found) = made(&world, "wrong");
    assert_eq!(
        found,
        [
            word("Accepted", "Conflicted", "spec.targetRefs[0]"),
            word("Accepted", "Invalid", "")
        ]
    );
    assert!(record.is_none());
    let world = mesh(&[backend_tls(
        "demo",
        "wrong",
        ("web", None),
        json!({"hostname": "a.example"}),
    )]);
    let (record, found) = made(&world, "wrong");
    assert_eq!(found, [word("Accepted", "Invalid", "")]);
    let record = record.unwrap();
    assert!(matches!(record.trust, Some(Trust::Unresolved(_))));
    assert_eq!(record.targets.len(), 1);
}

#[test]
fn targets_that_are_not_there_are_named() {
    let mut strange = policy("strange", ("web", None));
    strange["spec"]["targetRefs"][0]["kind"] = json!("Gateway");
    let world = mesh(&[
        policy("none", ("gone", None)),
        policy("port", ("web", Some("gone"))),
        strange,
    ]);
    for (name, reason, field) in [
        ("none", "TargetNotFound", "name"),
        ("port", "TargetNotFound", "sectionName"),
        ("strange", "Invalid", "kind"),
    ] {
        let (record, found) = made(&world, name);
        assert!(record.is_none(), "{name}");
        let field = format!("spec.targetRefs[0].{field}");
        assert_eq!(found, [word("Accepted", reason, &field)], "{name}");
    }
}
