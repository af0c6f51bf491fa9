//! Names, labels and annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use super::names::{dns_label, dns_subdomain};
use crate::keys;
use crate::model::{Kind, Meta, NsName};
use crate::path::{FieldPath, Issue, Issues};

/// What every object has.
pub(super) fn admit(kind: Kind, metadata: &ObjectMeta, issues: &mut Issues) -> Meta {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone();
    let at = FieldPath::of("metadata");
    let is_label = matches!(kind, Kind::Namespace | Kind::Service);
    let checked = if is_label {
        dns_label(&name)
    } else {
        dns_subdomain(&name)
    };
    issues.take(&at.key("name"), checked);
    let namespace = match namespace {
        Some(namespace) if kind.is_cluster_scoped() => {
            let message =
                format!("a {kind} belongs to no namespace, yet this one names {namespace:?}");
            issues.add(at.key("namespace"), message);
            String::new()
        }
        None if kind.is_cluster_scoped() => String::new(),
        None => "default".into(),
        Some(namespace) => {
            issues.take(&at.key("namespace"), dns_label(&namespace));
            namespace
        }
    };
    let labels = metadata.labels.clone().unwrap_or_default();
    for (key, value) in &labels {
        issues.take(&FieldPath::label(key), label(kind, key, value));
    }
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let ours = |key: &String, _: &mut String| key.starts_with(keys::PREFIX);
    Meta {
        name: NsName::new(namespace, name),
        uid: metadata.uid.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        labels,
        annotations: annotations
            .into_iter()
            .filter_map(|(k, mut v)| ours(&k, &mut v).then_some((k, v)))
            .collect(),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

/// The same of an object of which little else is read. What is malformed is not repeated.
pub(super) fn read(kind: Kind, value: &Value, issues: &mut Issues) -> Result<Meta, Vec<Issue>> {
    let metadata = ObjectMeta::deserialize(&value["metadata"]);
    let metadata = metadata.map_err(|_| {
        let (field, message) = (FieldPath::of("metadata"), "is malformed".into());
        vec![Issue { field, message }]
    })?;
    Ok(admit(kind, &metadata, issues))
}

/// Labels of the mesh have values that mean something.
fn label(kind: Kind, key: &str, value: &str) -> Result<(), String> {
    let one_of = |known: &[&str]| {
        if known.contains(&value) {
            return Ok(());
        }
        Err(format!("{value:?} is none of {}", known.join(", ")))
    };
    match key {
        keys::DATAPLANE_MODE => one_of(&["ambient", "none"]),
        keys::WAYPOINT_FOR if kind == Kind::Gateway => one_of(&["service", "workload", "all"]),
        keys::USE_WAYPOINT => dns_subdomain(value),
        keys::USE_WAYPOINT_NAMESPACE => dns_label(value),
        key if key.starts_with(keys::PREFIX) && key != keys::WAYPOINT_FOR => {
            Err("unknown label of the mesh".into())
        }
        _ => Ok(()),
    }
}
