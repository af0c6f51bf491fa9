//! Objects for the checks' tests: namespaces `plain` and `meshed`, and whatever a test adds.

use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::facts::{Facts, Mesh};
use super::finding::Finding;

pub(crate) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}

pub(crate) fn facts() -> Facts {
    Facts {
        namespaces: vec![
            object(
                json!({"metadata": {"name": "plain", "labels": {"kubernetes.io/metadata.name": "plain"}}}),
            ),
            object(json!({"metadata": {"name": "meshed", "labels":
                {"kubernetes.io/metadata.name": "meshed", "culvert.dev/dataplane-mode": "ambient"}}})),
        ],
        ..Facts::default()
    }
}

/// A pod with one container that listens on 8080, by name `http`.
pub(crate) fn pod(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Pod {
    let labels: serde_json::Map<_, _> = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    object(json!({
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
    }))
}

/// What a check finds: severity, check and object.
pub(crate) fn found(
    facts: &Facts,
    joining: Option<&str>,
    check: fn(&Mesh<'_>) -> Vec<Finding>,
) -> Vec<String> {
    let findings = check(&Mesh::new(facts, joining));
    findings
        .iter()
        .map(|it| {
            assert!(!it.message.is_empty(), "{it:?}");
            let severity = serde_json::to_value(it.severity).expect("a word");
            format!(
                "{} {} {}",
                severity.as_str().expect("a word"),
                it.check,
                it.object
            )
        })
        .collect()
}
