//! `Gateway` and `GatewayClass` of the Gateway API, as far as a waypoint needs them. What only other classes of gateway
//! use is accepted unread.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::{Port, Unused};

/// `spec` of a GatewayClass. Only its existence counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Who implements it.
    pub controller_name: String,
    /// Not read.
    #[serde(default)]
    pub description: Option<String>,
    /// Not read.
    #[serde(default)]
    pub parameters_ref: Unused,
}

/// `spec` of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayShape {
    /// `culvert-waypoint` for a waypoint.
    pub gateway_class_name: String,
    /// Where it runs.
    #[serde(default)]
    pub addresses: Vec<Addresses>,
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Not read.
    #[serde(default)]
    pub infrastructure: Unused,
    /// Not read.
    #[serde(default)]
    pub allowed_listeners: Unused,
    /// Not read.
    #[serde(default)]
    pub default_scope: Unused,
    /// Not read.
    #[serde(default)]
    pub tls: Unused,
    /// Not read.
    #[serde(default)]
    pub backend_tls: Unused,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Addresses {
    /// `IPAddress`, which is the default, `Hostname` or another.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The address.
    #[serde(default)]
    pub value: String,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub port: Port,
    /// `HBONE` for a waypoint.
    pub protocol: String,
    /// Not read.
    #[serde(default)]
    pub hostname: Unused,
    /// Not read.
    #[serde(default)]
    pub tls: Unused,
    /// Who may use it.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// Who may use a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
    /// Not read.
    pub kinds: Unused,
}

/// From which namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// By name or label.
    pub from: FromNamespaces,
    /// For `from: Selector`.
    pub selector: Option<LabelSelector>,
}

/// From which namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNamespaces {
    /// The Gateway's own.
    #[default]
    Same,
    /// Any.
    All,
    /// Those with certain labels.
    Selector,
    /// None.
    None,
}
