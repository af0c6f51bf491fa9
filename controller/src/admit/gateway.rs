//! Gateways. Those of other classes are left alone, whatever they say.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::names::address;
use super::{frontend, listener};
use crate::api::{FromNamespaces, GatewayShape};
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
    let backend = shape.tls.as_ref().and_then(|tls| tls.backend.as_ref());
    let client = backend.and_then(|backend| backend.client_certificate_ref.as_ref());
    let at = FieldPath::of("spec.tls.backend.clientCertificateRef");
    if class == WAYPOINT && client.is_some() {
        issues.add(at.clone(), "a waypoint proves itself to no backend");
    }
    let mut gateway = Gateway {
        waypoint,
        listeners,
        client_certificate: client.map(|one| listener::reference(one, "Secret", &at, issues)),
        ..Gateway::default()
    };
    if class == GATEWAY {
        let allowed = &shape.allowed_listeners.namespaces;
        let at = FieldPath::of("spec.allowedListeners.namespaces");
        gateway.allowed_sets = namespaces((allowed.from, &allowed.selector), &at, issues);
        gateway.frontend = frontend::admit(shape.tls.as_ref(), issues);
    }
    gateway.class = class;
    gateway
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
        allowed: {
            let allowed = &listener.allowed_routes.namespaces;
            let at = at.key("allowedRoutes").key("namespaces");
            namespaces((allowed.from, &allowed.selector), &at, issues)
        },
    })
}

/// The namespaces that a field says.
pub(super) fn namespaces(
    said: (FromNamespaces, &Option<LabelSelector>),
    at: &FieldPath,
    issues: &mut Issues,
) -> Allowed {
    match said {
        (FromNamespaces::Same, _) => Allowed::Same,
        (FromNamespaces::All, _) => Allowed::All,
        (FromNamespaces::None, _) => Allowed::None,
        (FromNamespaces::Selector, Some(selector)) => Allowed::Selector(selector.clone()),
        (FromNamespaces::Selector, None) => {
            issues.add(at.key("selector"), "is missing, though `from` is Selector");
            Allowed::None
        }
    }
}
