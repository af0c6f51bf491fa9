//! GatewayClasses that name us, and what Gateways of them are.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::{GATEWAY_CONTROLLER, WAYPOINT_CLASS, WAYPOINT_CONTROLLER, status};
use crate::keys;

/// What Gateways of a class are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// They take HBONE from the mesh.
    Waypoint,
    /// They take what their listeners say, from anybody.
    Gateway,
}

impl Role {
    /// What it is called.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waypoint => "waypoint",
            Self::Gateway => "gateway",
        }
    }

    /// The name of the application, on all that is made.
    pub(super) fn application(self) -> &'static str {
        match self {
            Self::Waypoint => "culvert-waypoint",
            Self::Gateway => "culvert-gateway",
        }
    }

    /// The annotation for the number of instances.
    pub(super) fn replicas_key(self) -> &'static str {
        match self {
            Self::Waypoint => keys::WAYPOINT_REPLICAS,
            Self::Gateway => keys::GATEWAY_REPLICAS,
        }
    }
}

/// The cluster's classes.
#[derive(Clone)]
pub(super) struct Classes(Store<DynamicObject>);

impl Classes {
    pub(super) fn new(store: Store<DynamicObject>) -> Self {
        Self(store)
    }

    /// What a Gateway is to us; none of another controller's.
    pub(super) fn role(&self, gateway: &DynamicObject) -> Option<Role> {
        role(class_of(gateway), |name| {
            self.0.find(|class| class.name_any() == name)
        })
    }
}

/// Waypoints are known by their class's name, whatever else there is: what asks for one must not go past it. Everything
/// else is what the class itself says.
fn role(
    name: &str,
    find: impl FnOnce(&str) -> Option<std::sync::Arc<DynamicObject>>,
) -> Option<Role> {
    if name == WAYPOINT_CLASS {
        return Some(Role::Waypoint);
    }
    let class = find(name)?;
    let ours = ours(&class) == Some(Role::Gateway) && !has_parameters(&class);
    ours.then_some(Role::Gateway)
}

/// The name of a Gateway's class.
pub(super) fn class_of(gateway: &DynamicObject) -> &str {
    let name = gateway.data.pointer("/spec/gatewayClassName");
    name.and_then(Value::as_str).unwrap_or_default()
}

/// What Gateways of a class are, if the class is ours.
pub(super) fn ours(class: &DynamicObject) -> Option<Role> {
    let controller = class.data.pointer("/spec/controllerName");
    match controller.and_then(Value::as_str)? {
        WAYPOINT_CONTROLLER => Some(Role::Waypoint),
        GATEWAY_CONTROLLER if class.name_any() == WAYPOINT_CLASS => Some(Role::Waypoint),
        GATEWAY_CONTROLLER => Some(Role::Gateway),
        _ => None,
    }
}

/// Parameters that nobody reads must not look as if they counted.
fn has_parameters(class: &DynamicObject) -> bool {
    let parameters = class.data.pointer("/spec/parametersRef");
    parameters.is_some_and(|parameters| !parameters.is_null())
}

/// The resource.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        "GatewayClass",
    ))
}

/// Say that a class of ours is known.
pub(super) async fn reconcile(
    client: &Client,
    class: &DynamicObject,
    role: Role,
) -> Result<(), kube::Error> {
    let Some(name) = &class.metadata.name else {
        return Ok(());
    };
    let before = class.data.get("status");
    let generation = class.metadata.generation;
    let parameters = has_parameters(class);
    let status = status::class(role, parameters, generation, before, &status::now());
    let same = |key: &str| before.is_some_and(|before| before.get(key) == status.get(key));
    if same("conditions") && same("supportedFeatures") {
        return Ok(());
    }
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn class(controller: &str, parameters: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
            "spec": {"controllerName": controller, "parametersRef": parameters},
        }))
        .unwrap()
    }

    #[test]
    fn a_class_is_ours_by_its_controller_and_waypoints_by_their_name() {
        let with = |name: &str, controller: &str, parameters: Value| {
            role(name, |_| Some(Arc::new(class(controller, &parameters))))
        };
        let (gateway, none) = (Some(Role::Gateway), Value::Null);
        assert_eq!(with("culvert", GATEWAY_CONTROLLER, none.clone()), gateway);
        assert_eq!(with("edge", GATEWAY_CONTROLLER, none.clone()), gateway);
        assert_eq!(with("culvert", "example.com/other", none), None);
        let parameters = json!({"group": "", "kind": "ConfigMap", "name": "x"});
        assert_eq!(with("culvert", GATEWAY_CONTROLLER, parameters), None);
        assert_eq!(role("culvert", |_| None), None);
        assert_eq!(role(WAYPOINT_CLASS, |_| None), Some(Role::Waypoint));
        assert_eq!(
            ours(&class(WAYPOINT_CONTROLLER, &Value::Null)),
            Some(Role::Waypoint)
        );
        let mut named = class(GATEWAY_CONTROLLER, &Value::Null);
        named.metadata.name = Some(WAYPOINT_CLASS.into());
        assert_eq!(ours(&named), Some(Role::Waypoint));
    }
}
