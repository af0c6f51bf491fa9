//! GatewayClasses that name us.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{CONTROLLER_NAME, status};

/// The resource.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        "GatewayClass",
    ))
}

/// Say that a class of ours is known.
pub(super) async fn reconcile(client: &Client, class: &DynamicObject) -> Result<(), kube::Error> {
    let names = class
        .data
        .pointer("/spec/controllerName")
        .and_then(Value::as_str);
    let (Some(CONTROLLER_NAME), Some(name)) = (names, &class.metadata.name) else {
        return Ok(());
    };
    let before = class.data.get("status");
    let now = status::now();
    let status = status::class(class.metadata.generation, before, &now);
    if before.is_some_and(|before| before["conditions"] == status["conditions"]) {
        return Ok(());
    }
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
