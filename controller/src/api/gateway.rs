//! `Gateway`, `GatewayClass` and `ListenerSet` of the Gateway API, as far as Gateways of our classes need them.

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
    /// `culvert-waypoint` for a waypoint, `culvert` for a gateway to the outside.
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
    /// Whose ListenerSets may add listeners.
    #[serde(default)]
    pub allowed_listeners: AllowedListeners,
    /// Not read.
    #[serde(default)]
    pub default_scope: Unused,
    /// For all listeners.
    #[serde(default)]
    pub tls: Option<GatewayTls>,
    /// Not read.
    #[serde(default)]
    pub backend_tls: Unused,
}

/// TLS of a whole Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayTls {
    /// TLS to backends.
    pub backend: Option<GatewayBackendTls>,
    /// That clients have to prove who they are.
    pub frontend: Option<FrontendTls>,
}

/// What is asked of clients where TLS ends here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendTls {
    /// At every port that has nothing of its own below.
    pub default: PortTls,
    /// In place of that.
    pub per_port: Vec<TlsOfPort>,
}

/// What is asked of clients at one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsOfPort {
    /// The port.
    pub port: Port,
    /// What is asked there.
    pub tls: PortTls,
}

/// What is asked of clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortTls {
    /// Left out: nothing.
    pub validation: Option<ClientValidation>,
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    /// Certificates of authorities.
    pub ca_certificate_refs: Vec<ObjectRef>,
    /// What becomes of clients without a good one.
    #[serde(default)]
    pub mode: ValidationMode,
}

/// What becomes of clients without a good certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValidationMode {
    /// They are refused.
    #[default]
    AllowValidOnly,
    /// They are served, as clients of whom nothing is known.
    AllowInsecureFallback,
}

/// Whose ListenerSets may add listeners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// From which namespaces.
    pub namespaces: ListenerNamespaces,
}

/// From which namespaces: unless it is said, from none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerNamespaces {
    /// By name or label.
    pub from: FromNamespaces,
    /// For `from: Selector`.
    pub selector: Option<LabelSelector>,
}

impl Default for ListenerNamespaces {
    fn default() -> Self {
        Self {
            from: FromNamespaces::None,
            selector: None,
        }
    }
}

/// `spec` of a ListenerSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway that is to have the listeners.
    pub parent_ref: ListenerSetParent,
    /// What it is to have.
    pub listeners: Vec<Listener>,
}

/// The parent of a ListenerSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerSetParent {
    /// Left out it is the Gateway API's.
    pub group: Option<String>,
    /// `Gateway`, or left out.
    pub kind: Option<String>,
    /// Left out it is the ListenerSet's.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// TLS of a Gateway to backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayBackendTls {
    /// What it proves itself with, to backends with a BackendTLSPolicy.
    pub client_certificate_ref: Option<ObjectRef>,
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
    /// `HBONE` for a waypoint; `HTTP`, `HTTPS`, `TLS` or `TCP` for a gateway.
    pub protocol: String,
    /// Left out: every host.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Of `HTTPS` and `TLS`.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Who may use it.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// Where TLS ends.
    pub mode: TlsMode,
    /// What the listener proves itself with.
    pub certificate_refs: Vec<ObjectRef>,
    /// Not read.
    pub options: Unused,
}

/// Where TLS ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Here.
    #[default]
    Terminate,
    /// At the backend.
    Passthrough,
}

/// A reference to a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Empty for these, or left out.
    pub group: Option<String>,
    /// `Secret` where it is left out.
    pub kind: Option<String>,
    /// Left out it is that of the object that refers.
    pub namespace: Option<String>,
    /// Of what is meant.
    pub name: String,
}

/// Who may use a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
    /// Of which kinds. Empty: all that the protocol has.
    pub kinds: Vec<RouteKind>,
}

/// A kind of route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteKind {
    /// Left out it is the Gateway API's.
    pub group: Option<String>,
    /// `HTTPRoute`, ...
    pub kind: String,
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
