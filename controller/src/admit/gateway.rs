//! Gateways. Those of other classes are left alone, whatever they say.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::listener;
use super::names::address;
use crate::api::{FromNamespaces, GatewayShape, Listener};
use crate::keys;
use crate::model::{Allowed, Gateway, Meta, Purpose, Waypoint};
use crate::path::{FieldPath, Issues};

/// Gateways of this class are waypoints.
const WAYPOINT: &str = culvert_enrolment::WAYPOINT_CLASS;
/// Gateways of this class take connections from outside the mesh.
const GATEWAY: &str = culvert_enrolment::GATEWAY_CLASS;

/// Whether Gateways of this class are ours.
pub(crate) fn is_ours(class: &str) -> bool {
    [WAYPOINT, GATEWAY].contains(&class)
}

/// Of a Gateway of another class nothing but the class, so that what it says cannot be wrong.
pub(super) fn ours(value: &Value) -> Cow<'_, Value> {
    let class = &value["spec"]["gatewayClassName"];
    if class.as_str().is_none_or(is_ours) {
        return Cow::Borrowed(value);
    }
    let mut pruned = value.clone();
    pruned["spec"] = json!({ "gatewayClassName": class });
    Cow::Owned(pruned)
}

pub(super) fn admit(meta: &Meta, shape: &GatewayShape, issues: &mut Issues) -> Gateway {
    let class = shape.gateway_class_name.clone();
    let waypoint = (class == WAYPOINT)
        .then(|| waypoint(meta, shape, issues))
        .flatten();
    let listeners = (class == GATEWAY).then(|| listener::admit(shape, issues));
    Gateway {
        class,
        waypoint,
        listeners,
    }
}

fn waypoint(meta: &Meta, shape: &GatewayShape, issues: &mut Issues) -> Option<Waypoint> {
    let mut addresses = Vec::new();
    for (i, a) in shape.addresses.iter().enumerate() {
        let at = FieldPath::of("spec.addresses").index(i);
        match a.kind.as_deref().unwrap_or("IPAddress") {
            "IPAddress" => addresses.extend(issues.take(&at.key("value"), address(&a.value))),
            other => {
                let message = format!("{other:?}: a waypoint's address is an IPAddress");
                issues.add(at.key("type"), message);
            }
        }
    }
    let at = FieldPath::of("spec.listeners");
    let [listener] = shape.listeners.as_slice() else {
        let message = format!(
            "a waypoint has one listener, this one has {}",
            shape.listeners.len()
        );
        issues.add(at, message);
        return None;
    };
    let at = at.index(0);
    if listener.protocol != "HBONE" {
        let message = format!(
            "{:?}: a waypoint's listener has protocol HBONE",
            listener.protocol
        );
        issues.add(at.key("protocol"), message);
    }
    let purpose = match meta.label(keys::WAYPOINT_FOR) {
        Some("workload") => Purpose::Workload,
        Some("all") => Purpose::All,
        _ => Purpose::Service,
    };
    Some(Waypoint {
        addresses,
        port: listener.port.get(),
        purpose,
        allowed: allowed(listener, &at, issues),
    })
}

pub(super) fn allowed(listener: &Listener, at: &FieldPath, issues: &mut Issues) -> Allowed {
    let namespaces = &listener.allowed_routes.namespaces;
    match (namespaces.from, &namespaces.selector) {
        (FromNamespaces::Same, _) => Allowed::Same,
        (FromNamespaces::All, _) => Allowed::All,
        (FromNamespaces::None, _) => Allowed::None,
        (FromNamespaces::Selector, Some(selector)) => Allowed::Selector(selector.clone()),
        (FromNamespaces::Selector, None) => {
            let at = at.key("allowedRoutes").key("namespaces").key("selector");
            issues.add(at, "is missing, though `from` is Selector");
            Allowed::None
        }
    }
}
