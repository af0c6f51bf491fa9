//! A policy that is wrong is a refusal, never nothing.

use serde_json::{Value, json};

use crate::admit::admit;
use crate::model::{BackendTls, Object};
use crate::testing::backend_tls;

fn held(validation: Value) -> BackendTls {
    match admit(&backend_tls("demo", "p", ("web", None), validation)) {
        Ok(Object::BackendTlsPolicy(policy)) => policy.spec.clone(),
        other => panic!("{other:?}"),
    }
}

fn wrong(validation: Value) -> String {
    let policy = held(validation);
    assert_eq!(policy.targets.len(), 1, "what it is for is still known");
    policy.validation.unwrap_err()
}

#[test]
fn what_the_gateway_api_has_is_admitted() {
    let refs = json!([{"group": "", "kind": "ConfigMap", "name": "ca"}]);
    let names = json!([{"type": "Hostname", "hostname": "*.example.com"}, {"type": "URI", "uri": "spiffe://a/b"}]);
    for validation in [
        json!({"hostname": "a.example.com", "caCertificateRefs": refs}),
        json!({"hostname": "a.example.com", "wellKnownCACertificates": "System"}),
        json!({"hostname": "a.example.com", "caCertificateRefs": [], "wellKnownCACertificates": "System", "subjectAltNames": names}),
    ] {
        assert!(held(validation.clone()).validation.is_ok(), "{validation}");
    }
    let mut foreign = backend_tls(
        "demo",
        "p",
        ("web", Some("https")),
        json!({"hostname": "a", "caCertificateRefs": refs}),
    );
    foreign["spec"]["options"] = json!({"other.example/x": "y"});
    let Ok(Object::BackendTlsPolicy(policy)) = admit(&foreign) else {
        panic!()
    };
    assert!(policy.spec.validation.is_ok());
    assert_eq!(policy.spec.targets[0].section(), Some("https"));
}

#[test]
fn what_is_wrong_is_named() {
    let good = json!({"hostname": "a.example.com", "wellKnownCACertificates": "System"});
    let with = |key: &str, content: Value| {
        let mut validation = good.clone();
        validation[key] = content;
        validation
    };
    let refs = json!([{"kind": "ConfigMap", "name": "ca"}]);
    for (validation, expected) in [
        (
            json!({"hostname": "a"}),
            "spec.validation: whom to trust is missing",
        ),
        (
            with("caCertificateRefs", refs),
            "spec.validation: caCertificateRefs and wellKnownCACertificates exclude",
        ),
        (
            with("wellKnownCACertificates", json!("x.io/Mine")),
            "spec.validation.wellKnownCACertificates: \"x.io/Mine\" is not known",
        ),
        (with("hostname", json!("")), "spec.validation.hostname: "),
        (
            with("hostname", json!("*.example.com")),
            "spec.validation.hostname: ",
        ),
        (
            with(
                "subjectAltNames",
                json!([{"type": "URI", "uri": "no-scheme"}]),
            ),
            "spec.validation.subjectAltNames[0].uri: ",
        ),
        (
            with("subjectAltNames", json!([{"type": "Hostname"}])),
            "spec.validation.subjectAltNames[0].hostname: ",
        ),
        (
            with(
                "subjectAltNames",
                json!([{"type": "URI", "uri": "a:b", "hostname": "c"}]),
            ),
            "spec.validation.subjectAltNames[0].hostname: does not go with its type",
        ),
        // A field, or a value, of a later version.
        (
            with("pinnedKeys", json!(["x"])),
            "spec.validation.pinnedKeys: unknown field",
        ),
        (
            with("subjectAltNames", json!([{"type": "Email"}])),
            "spec.validation.subjectAltNames[0].type: ",
        ),
    ] {
        let problem = wrong(validation.clone());
        assert!(problem.starts_with(expected), "{validation}: {problem}");
    }
    let mut ours = backend_tls("demo", "p", ("web", None), good);
    ours["spec"]["options"] = json!({"culvert.dev/x": "y"});
    let Ok(Object::BackendTlsPolicy(policy)) = admit(&ours) else {
        panic!()
    };
    let problem = policy.spec.validation.clone().unwrap_err();
    assert_eq!(problem, "spec.options[culvert.dev/x]: is not known");
    ours["spec"]["options"] = json!({});
    ours["metadata"]["labels"] = json!({"culvert.dev/strange": "x"});
    let Ok(Object::BackendTlsPolicy(policy)) = admit(&ours) else {
        panic!()
    };
    let problem = policy.spec.validation.clone().unwrap_err();
    assert!(problem.contains("unknown label of the mesh"), "{problem}");
}
