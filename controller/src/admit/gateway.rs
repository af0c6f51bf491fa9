//! Gateways. Those of other classes are left alone, whatever they say.

use super::names::address;
use crate::api::{FromNamespaces, GatewayShape, Listener};
use crate::keys;
use crate::model::{Allowed, Gateway, Meta, Purpose, Waypoint};
use crate::path::{FieldPath, Issues};

/// Gateways of this class are waypoints.
const CLASS: &str = "culvert-waypoint";

pub(super) fn admit(meta: &Meta, shape: &GatewayShape, issues: &mut Issues) -> Gateway {
    let class = shape.gateway_class_name.clone();
    let waypoint = (class == CLASS)
        .then(|| waypoint(meta, shape, issues))
        .flatten();
    Gateway { class, waypoint }
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

fn allowed(listener: &Listener, at: &FieldPath, issues: &mut Issues) -> Allowed {
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
