//! The XMesh that tells the Gateway API's users, and its conformance suite, what this mesh can do.
//!
//! Invariants: an XMesh of another controller is never written; nothing is done where the API server does not know the kind.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::{GATEWAY_CONTROLLER, MANAGED_BY, MANAGER, status};

/// The one that is made.
const NAME: &str = "culvert";
/// How often they are looked at. They are few, and change hardly ever.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same while there is no such kind.
const ABSENT: Duration = Duration::from_secs(60);

/// The resource.
fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.x-k8s.io", "v1alpha1", "XMesh");
    ApiResource::from_gvk_with_plural(&kind, "xmeshes")
}

/// Keep ours in line. Never ends.
pub(super) async fn follow(client: Client) {
    let api = Api::all_with(client, &resource());
    loop {
        let pause = match tend(&api).await {
            Ok(()) => INTERVAL,
            Err(error) if is(&error, 404) => ABSENT,
            Err(error) => {
                tracing::warn!(%error, "the XMesh could not be brought in line");
                ABSENT
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Make ours if there is none of its name, and say of all of ours that they are known.
async fn tend(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    let mut all = api.list(&ListParams::default()).await?.items;
    if all.iter().all(|mesh| mesh.name_any() != NAME) {
        match api.create(&PostParams::default(), &wanted()).await {
            Ok(made) => all.push(made),
            // Somebody was faster: it is looked at the next time.
            Err(error) if is(&error, 409) => {}
            Err(error) => return Err(error),
        }
    }
    for mesh in all.iter().filter(|mesh| is_ours(mesh)) {
        tell(api, mesh).await?;
    }
    Ok(())
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn is_ours(mesh: &DynamicObject) -> bool {
    let controller = mesh.data.pointer("/spec/controllerName");
    controller.and_then(Value::as_str) == Some(GATEWAY_CONTROLLER)
}

fn wanted() -> DynamicObject {
    let mut mesh = DynamicObject::new(NAME, &resource());
    mesh.labels_mut().insert(MANAGED_BY.into(), MANAGER.into());
    mesh.data = json!({"spec": {
        "controllerName": GATEWAY_CONTROLLER,
        "description": "Services of the mesh, behind waypoints",
    }});
    mesh
}

async fn tell(api: &Api<DynamicObject>, mesh: &DynamicObject) -> Result<(), kube::Error> {
    let before = mesh.data.get("status");
    let parameters = mesh.data.pointer("/spec/parametersRef");
    let parameters = parameters.is_some_and(|parameters| !parameters.is_null());
    let generation = mesh.metadata.generation;
    let status = status::mesh(parameters, generation, before, &status::now());
    let same = |key: &str| before.is_some_and(|before| before.get(key) == status.get(key));
    if same("conditions") && same("supportedFeatures") {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"status": status}));
    let name = mesh.name_any();
    api.patch_status(&name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
