//! Server-side apply that never takes what is somebody else's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use super::{MANAGED_BY, MANAGER};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// There is one of this name that is not ours.
    #[error("{kind} {namespace}/{name} is not this Gateway's: rename or delete one of the two")]
    Foreign {
        kind: String,
        namespace: String,
        name: String,
    },
    /// One of an earlier Gateway of this name is still there.
    #[error("{kind} {namespace}/{name} of an earlier Gateway of this name is still being removed")]
    Earlier {
        kind: String,
        namespace: String,
        name: String,
    },
    #[error("{what}: {source}")]
    Api { what: String, source: kube::Error },
    #[error("{0} has no apiVersion, kind, name or namespace")]
    Incomplete(String),
}

/// Whose object it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<'a> {
    /// That of the Gateway of this uid.
    Gateway(&'a str),
    /// Ours, for several Gateways.
    Shared,
}

/// Make an object what it should be, unless it is somebody else's. Gives back what it is then.
pub(super) async fn apply(
    client: &Client,
    object: &Value,
    owner: Owner<'_>,
) -> Result<DynamicObject, ApplyError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(version), Some(kind), Some(namespace), Some(name)) = (
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    ) else {
        return Err(ApplyError::Incomplete(object.to_string()));
    };
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let failed = |source| ApplyError::Api {
        what: format!("{kind} {namespace}/{name}"),
        source,
    };
    let before = api.get_opt(name).await.map_err(failed)?;
    let mut object = object.clone();
    let mut params = PatchParams::apply(MANAGER);
    if let Some(before) = before {
        let (kind, namespace, name) = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        match whose(&before, owner) {
            Whose::Ours => {}
            Whose::Earlier => {
                return Err(ApplyError::Earlier {
                    kind,
                    namespace,
                    name,
                });
            }
            Whose::Foreign => {
                return Err(ApplyError::Foreign {
                    kind,
                    namespace,
                    name,
                });
            }
        }
        // Of this very object: one that took its place since is another's.
        object["metadata"]["uid"] = before.metadata.uid.unwrap_or_default().into();
        params = params.force();
    }
    // What does not exist is made without force: whoever was faster with fields of his own is not overwritten.
    api.patch(name, &params, &Patch::Apply(&object))
        .await
        .map_err(failed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Earlier,
    Foreign,
}

fn whose(object: &DynamicObject, owner: Owner<'_>) -> Whose {
    let label = object
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(MANAGED_BY));
    let managed = label.is_some_and(|by| by == MANAGER);
    let uid = match owner {
        Owner::Shared if managed => return Whose::Ours,
        Owner::Shared => return Whose::Foreign,
        Owner::Gateway(uid) => uid,
    };
    let owners = object.metadata.owner_references.iter().flatten();
    let controls = |o: &&OwnerReference| o.kind == "Gateway" && o.controller == Some(true);
    match owners.into_iter().find(controls) {
        Some(gateway) if gateway.uid == uid => Whose::Ours,
        Some(_) if managed => Whose::Earlier,
        _ => Whose::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(metadata: &Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata}))
            .unwrap()
    }

    #[test]
    fn whose_an_object_is() {
        let owner = |uid: &str| {
            json!([{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "w",
                    "uid": uid, "controller": true}])
        };
        let ours = json!({MANAGED_BY: MANAGER});
        let of = |metadata: Value, owner| whose(&object(&metadata), owner);
        let gateway = Owner::Gateway("u1");
        assert_eq!(of(json!({"name": "w"}), gateway), Whose::Foreign);
        assert_eq!(
            of(json!({"name": "w", "labels": ours}), gateway),
            Whose::Foreign
        );
        assert_eq!(
            of(
                json!({"name": "w", "ownerReferences": owner("u1")}),
                gateway
            ),
            Whose::Ours
        );
        let other = json!({"name": "w", "ownerReferences": owner("u0")});
        assert_eq!(of(other, gateway), Whose::Foreign);
        let earlier = json!({"name": "w", "labels": ours, "ownerReferences": owner("u0")});
        assert_eq!(of(earlier, gateway), Whose::Earlier);
        assert_eq!(
            of(json!({"name": "r", "labels": ours}), Owner::Shared),
            Whose::Ours
        );
        assert_eq!(of(json!({"name": "r"}), Owner::Shared), Whose::Foreign);
    }
}
