//! Reads a value into a shape and finds every field that the shape does not have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Unused;
use crate::path::{FieldPath, Issue, Step};

/// A custom resource.
#[derive(Debug, Deserialize)]
pub(super) struct Custom<S> {
    #[expect(dead_code, reason = "was looked at before; here it is a known field")]
    #[serde(rename = "apiVersion")]
    api_version: String,
    #[expect(dead_code, reason = "was looked at before; here it is a known field")]
    kind: String,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: S,
    #[expect(dead_code, reason = "may be written, and is the mesh's own to say")]
    #[serde(default)]
    status: Unused,
}

/// Everything that is wrong with the value's shape: the first bad value, and all unknown fields before it.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<Issue>> {
    let mut issues = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = serde_ignored::deserialize(deserializer, |path| {
        issues.push(Issue {
            field: ignored(&path),
            message: "unknown field".into(),
        });
    });
    match read {
        Ok(object) if issues.is_empty() => Ok(object),
        Ok(_) => Err(issues),
        Err(error) => {
            issues.push(Issue {
                field: tracked(&track.path()),
                message: error.to_string(),
            });
            Err(issues)
        }
    }
}

fn tracked(path: &serde_path_to_error::Path) -> FieldPath {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn ignored(path: &serde_ignored::Path<'_>) -> FieldPath {
    use serde_ignored::Path;
    match path {
        Path::Root => FieldPath::root(),
        Path::Seq { parent, index } => ignored(parent).index(*index),
        Path::Map { parent, key } => ignored(parent).key(key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => ignored(parent),
    }
}
