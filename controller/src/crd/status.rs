//! What the controller writes into `status`: conditions of the object, and for each of its ancestors.

use serde_json::{Value, json};

use crate::model::Kind;

/// The schema of a kind's `status`.
pub(super) fn schema(kind: Kind) -> Value {
    match kind {
        Kind::ServiceEntry => of_entry(),
        _ => of_policy(),
    }
}

/// With the addresses that hosts were given.
fn of_entry() -> Value {
    json!({
        "type": "object",
        "description": "Written by the controller.",
        "properties": {
            "conditions": conditions(),
            "addresses": {
                "type": "array",
                "description": "Addresses that the mesh gave to hosts that have none of their own.",
                "maxItems": 128,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["host", "value"],
                    "properties": {
                        "host": {"type": "string", "maxLength": 253},
                        "value": {"type": "string", "maxLength": 43},
                    },
                },
            },
        },
    })
}

/// As the Gateway API has policies' (`PolicyStatus`), and the sum of it in front.
fn of_policy() -> Value {
    let reference = |name: &str, length: u32| {
        let text = json!({"type": "string", "maxLength": length});
        (name.to_owned(), text)
    };
    let mut ancestor: serde_json::Map<_, _> = [
        reference("group", 253),
        reference("kind", 63),
        reference("namespace", 63),
        reference("name", 253),
        reference("sectionName", 253),
    ]
    .into_iter()
    .collect();
    ancestor.insert(
        "port".into(),
        json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535}),
    );
    json!({
        "type": "object",
        "description": "Written by the controller.",
        "properties": {
            "conditions": conditions(),
            "ancestors": {
                "type": "array",
                "description": "The same for each of those that it is for.",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["ancestorRef", "controllerName"],
                    "properties": {
                        "ancestorRef": {
                            "type": "object",
                            "required": ["name"],
                            "properties": ancestor,
                        },
                        "controllerName": {"type": "string", "minLength": 1, "maxLength": 253},
                        "conditions": conditions(),
                    },
                },
            },
        },
    })
}

/// `metav1.Condition`s, one of each type.
fn conditions() -> Value {
    let text = |length: u32| json!({"type": "string", "maxLength": length});
    json!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": text(316),
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": text(1024),
                "message": text(32768),
            },
        },
    })
}
