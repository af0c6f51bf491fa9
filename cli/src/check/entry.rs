//! What leads traffic from outside to services and is not in the mesh: Ingresses, and routes of others' gateways.

use culvert_enrolment::WAYPOINT_CLASS;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::facts::Facts;

/// Gateways of these classes reach pods by mutual TLS.
const IN_MESH: [&str; 2] = [WAYPOINT_CLASS, "culvert"];

/// One way in.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: String,
    /// Namespace and name of the gateway, for a route.
    pub(crate) gateway: Option<(String, String)>,
    pub(crate) backends: Vec<Backend>,
}

/// A service that it leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// All ports if none.
    pub(crate) port: Option<IntOrString>,
}

/// All ways in.
pub(crate) fn all(facts: &Facts) -> Vec<Entry> {
    let mut entries: Vec<_> = facts.ingresses.iter().map(ingress).collect();
    for kind in ["HTTPRoute", "GRPCRoute"] {
        entries.extend(
            facts
                .others(kind)
                .iter()
                .flat_map(|it| routes(facts, kind, it)),
        );
    }
    entries
}

fn ingress(ingress: &Ingress) -> Entry {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let rules = ingress
        .spec
        .as_ref()
        .and_then(|it| it.rules.as_deref())
        .unwrap_or_default();
    let paths = rules
        .iter()
        .filter_map(|it| it.http.as_ref())
        .flat_map(|it| &it.paths);
    let default = ingress
        .spec
        .as_ref()
        .and_then(|it| it.default_backend.as_ref());
    let backend = |it: &IngressBackend| {
        let service = it.service.as_ref()?;
        let port = service
            .port
            .as_ref()
            .and_then(|it| match (&it.name, it.number) {
                (Some(name), _) => Some(IntOrString::String(name.clone())),
                (None, number) => number.map(IntOrString::Int),
            });
        Some(Backend {
            namespace: namespace.to_owned(),
            service: service.name.clone(),
            port,
        })
    };
    Entry {
        object: format!(
            "Ingress {namespace}/{}",
            ingress.metadata.name.as_deref().unwrap_or_default()
        ),
        gateway: None,
        backends: paths
            .map(|it| &it.backend)
            .chain(default)
            .filter_map(backend)
            .collect(),
    }
}

fn routes(facts: &Facts, kind: &str, route: &Value) -> Vec<Entry> {
    let (namespace, name) = (
        word(&route["metadata"]["namespace"]),
        word(&route["metadata"]["name"]),
    );
    let object = format!("{kind} {namespace}/{name}");
    let parents = items(&route["spec"]["parentRefs"])
        .filter(|it| it["kind"].as_str().unwrap_or("Gateway") == "Gateway");
    let entry = |parent: &Value| {
        let place = parent["namespace"].as_str().unwrap_or(namespace).to_owned();
        let gateway = word(&parent["name"]).to_owned();
        let found = facts.others("Gateway").iter().find(|it| {
            let metadata = &it["metadata"];
            metadata["namespace"] == place.as_str() && metadata["name"] == gateway.as_str()
        })?;
        let backend = |it: &Value| Backend {
            namespace: it["namespace"].as_str().unwrap_or(namespace).to_owned(),
            service: word(&it["name"]).to_owned(),
            port: it["port"]
                .as_i64()
                .and_then(|it| i32::try_from(it).ok())
                .map(IntOrString::Int),
        };
        let refs = items(&route["spec"]["rules"]).flat_map(|it| items(&it["backendRefs"]));
        let refs = refs.filter(|it| it["kind"].as_str().unwrap_or("Service") == "Service");
        (!IN_MESH.contains(&word(&found["spec"]["gatewayClassName"]))).then(|| Entry {
            object: object.clone(),
            gateway: Some((place, gateway)),
            backends: refs.map(backend).collect(),
        })
    };
    parents.filter_map(entry).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
