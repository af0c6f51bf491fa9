//! The definitions on file are these, and every one is structural.

use super::*;

#[test]
fn the_manifests_are_what_the_types_say() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("../manifests/crds");
    let mut names = Vec::new();
    for (name, made) in files().unwrap() {
        let path = dir.join(&name);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let stale = "is not what `culvert-controller crds` prints: run `make manifests`";
        assert!(written == made, "{} {stale}", path.display());
        names.push(name);
    }
    // And no others.
    let entries = std::fs::read_dir(&dir).unwrap();
    let mut found: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
}

/// What Kubernetes calls structural, and what keeps the cost of rules bounded.
fn check(schema: &Value, at: &str) {
    let object = schema.as_object().unwrap();
    let known = [
        "type",
        "description",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "enum",
        "format",
        "default",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "maxItems",
        "maxProperties",
        "pattern",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-int-or-string",
    ];
    for key in object.keys() {
        assert!(known.contains(&key.as_str()), "{at}: {key}");
    }
    let kind = schema["type"].as_str();
    let either = schema["x-kubernetes-int-or-string"] == json!(true);
    assert!(kind.is_some() != either, "{at}: {schema}");
    match kind {
        Some("array") => {
            assert!(schema["maxItems"].is_u64(), "{at}: no maxItems");
            check(&schema["items"], &format!("{at}[]"));
        }
        Some("string") if at.starts_with("spec") => {
            let bounded = schema["maxLength"].is_u64() || schema["enum"].is_array();
            assert!(bounded, "{at}: no maxLength");
        }
        _ => {}
    }
    if schema["additionalProperties"].is_object() {
        assert!(schema["maxProperties"].is_u64(), "{at}: no maxProperties");
        check(&schema["additionalProperties"], &format!("{at}{{}}"));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        check(field, &format!("{at}.{name}"));
    }
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        assert!(
            rule["message"].as_str().is_some_and(|m| m.len() > 10),
            "{at}"
        );
    }
}

#[test]
fn every_schema_is_structural_and_bounded() {
    for definition in all().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        check(&schema["properties"]["spec"], "spec");
        check(&schema["properties"]["status"], "status");
    }
}

#[test]
fn a_rule_for_no_field_is_an_error() {
    let mut fields = schema::Fields::of::<api::PeerAuthenticationSpec>();
    let error = fields.at("mtls.mood", &json!({})).unwrap_err();
    assert_eq!(error.to_string(), "no field mtls.mood");
}
