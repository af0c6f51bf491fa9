//! From what a user wrote to an object of the mesh: the only way to make a [`crate::model::Object`].
//!
//! Invariant: an object that leaves here is well formed as far as it alone can tell: every field is known, every value of
//! its type and in its range. What it refers to is looked at later, in [`crate::translate`].

mod authorization;
mod backend_tls;
mod backend_traffic;
mod config_map;
mod cors;
mod egress;
mod endpoint_slice;
mod fault;
mod frontend;
mod gateway;
mod grpc_route;
mod http_filter;
mod http_route;
mod ingress;
mod listener;
mod locality;
mod mesh_config;
mod meta;
mod names;
mod peer_authentication;
mod pod;
mod read;
mod reference_grant;
mod resilience;
mod secret;
mod service;
mod service_entry;
mod stream_route;
mod traffic;

use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::{core::v1, networking::v1 as networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::api;
use crate::model::{Key, Kind, NsName, Obj, Object};
use crate::path::{FieldPath, Issue, Issues};

pub(crate) use authorization::{blocks, needs_http};
pub(crate) use backend_traffic::is_service;
pub(crate) use config_map::ENTRY as CA_ENTRY;
pub(crate) use fault::per_ten_thousand;
pub(crate) use gateway::is_ours;
pub(crate) use listener::conflict::Claims;
pub use names::{address, dns_label, dns_subdomain};
pub use pod::{CAPTURE_LOST, CAPTURED};
pub(crate) use resilience::{aggression, balance_factor, latency_factor, stdev_factor};
pub(crate) use secret::{ENTRIES as SECRET_ENTRIES, TYPE as SECRET_TYPE};
pub(crate) use traffic::retry_on;

/// Why something is no object of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Which object it would have been, if that can be told.
    pub key: Option<Key>,
    /// The same for a person, as far as it can be told.
    pub label: String,
    /// All that is wrong.
    pub issues: Vec<Issue>,
}

/// Make an object of what was written.
pub fn admit(value: &Value) -> Result<Object, Refusal> {
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
    let (kind, name) = (text("/kind").unwrap_or_default(), text("/metadata/name"));
    let namespace = text("/metadata/namespace");
    let label = [
        kind,
        &NsName::new(namespace.unwrap_or_default(), name.unwrap_or_default()).to_string(),
    ]
    .join(" ");
    let refuse = |key, field: &str, message: String| Refusal {
        key,
        label: label.trim().to_owned(),
        issues: vec![Issue {
            field: FieldPath::of(field),
            message,
        }],
    };
    let Some(kind) = Kind::named(kind) else {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let message = format!(
            "{kind:?} is none of the kinds that are read: {}",
            known.join(", ")
        );
        return Err(refuse(None, "kind", message));
    };
    let version = text("/apiVersion").unwrap_or_default();
    if !kind.api_versions().contains(&version) {
        let message = format!(
            "{version:?} has no {kind} that is read, {} has",
            kind.api_versions()[0]
        );
        return Err(refuse(None, "apiVersion", message));
    }
    let Some(name) = name.filter(|name| dns_subdomain(name).is_ok()) else {
        let message = format!(
            "{:?} is no name of an object: lower-case letters, digits, '-' and '.'",
            name.unwrap_or_default()
        );
        return Err(refuse(None, "metadata.name", message));
    };
    let namespace = if kind.is_cluster_scoped() {
        ""
    } else {
        namespace.unwrap_or("default")
    };
    let key = Key {
        kind,
        name: NsName::new(namespace, name),
    };
    convert(kind, value).map_err(|issues| Refusal {
        label: key.to_string(),
        key: Some(key),
        issues,
    })
}

fn convert(kind: Kind, value: &Value) -> Result<Object, Vec<Issue>> {
    Ok(match kind {
        Kind::Namespace => {
            let o: v1::Namespace = read::read(value)?;
            Object::Namespace(bare(kind, &o.metadata)?)
        }
        Kind::Node => {
            let o: v1::Node = read::read(value)?;
            Object::Node(bare(kind, &o.metadata)?)
        }
        Kind::ServiceAccount => {
            let o: v1::ServiceAccount = read::read(value)?;
            Object::ServiceAccount(bare(kind, &o.metadata)?)
        }
        Kind::NetworkPolicy => {
            let o: networking::NetworkPolicy = read::read(value)?;
            Object::NetworkPolicy(bare(kind, &o.metadata)?)
        }
        Kind::Pod => Object::Pod(typed(kind, value, pod::admit)?),
        Kind::Service => Object::Service(typed(kind, value, service::admit)?),
        Kind::EndpointSlice => Object::EndpointSlice(typed(kind, value, endpoint_slice::admit)?),
        Kind::GatewayClass => {
            let o: read::Custom<api::GatewayClassSpec> = read::read(value)?;
            Object::GatewayClass(bare(kind, &o.metadata)?)
        }
        Kind::Gateway => {
            let o: read::Custom<api::GatewayShape> = read::read(&gateway::ours(value))?;
            let mut issues = Issues::default();
            let meta = meta::admit(kind, &o.metadata, &mut issues);
            let spec = gateway::admit(&meta, &o.spec, &mut issues);
            Object::Gateway(made(meta, spec, issues)?)
        }
        Kind::HttpRoute => Object::HttpRoute(custom(kind, value, http_route::check)?),
        Kind::GrpcRoute => {
            let route = custom(kind, value, grpc_route::check)?;
            let (meta, spec) = (route.meta.clone(), route.spec.as_http());
            Object::GrpcRoute(Arc::new(Obj { meta, spec }))
        }
        Kind::MeshConfig => Object::MeshConfig(custom(kind, value, mesh_config::check)?),
        Kind::PeerAuthentication => {
            Object::PeerAuthentication(custom(kind, value, peer_authentication::check)?)
        }
        Kind::AuthorizationPolicy => {
            Object::AuthorizationPolicy(custom(kind, value, authorization::check)?)
        }
        Kind::TrafficPolicy => Object::TrafficPolicy(custom(kind, value, traffic::check_traffic)?),
        Kind::FaultPolicy => Object::FaultPolicy(custom(kind, value, fault::check)?),
        Kind::Secret => Object::Secret(secret::admit(value)?),
        Kind::ReferenceGrant => {
            Object::ReferenceGrant(custom(kind, value, reference_grant::check)?)
        }
        Kind::TlsRoute => Object::TlsRoute(custom(kind, value, stream_route::check_tls)?),
        Kind::TcpRoute => Object::TcpRoute(custom(kind, value, stream_route::check_tcp)?),
        Kind::Ingress => Object::Ingress(typed(kind, value, ingress::admit)?),
        Kind::IngressClass => Object::IngressClass(typed(kind, value, ingress::admit_class)?),
        Kind::ServiceEntry => {
            let o: read::Custom<api::ServiceEntrySpec> = read::read(value)?;
            let mut issues = Issues::default();
            let meta = meta::admit(kind, &o.metadata, &mut issues);
            let spec = service_entry::admit(&o.spec, &value["status"], &mut issues);
            Object::ServiceEntry(made(meta, spec, issues)?)
        }
        Kind::EgressPolicy => Object::EgressPolicy(custom(kind, value, egress::check)?),
        Kind::ConfigMap => Object::ConfigMap(config_map::admit(value)?),
        Kind::BackendTlsPolicy => Object::BackendTlsPolicy(backend_tls::admit(value)?),
        Kind::XBackendTrafficPolicy => {
            Object::XBackendTrafficPolicy(custom(kind, value, backend_traffic::check)?)
        }
        Kind::ListenerSet => {
            let o: read::Custom<api::ListenerSetSpec> = read::read(value)?;
            let mut issues = Issues::default();
            let meta = meta::admit(kind, &o.metadata, &mut issues);
            let spec = listener::admit_set(&meta, &o.spec, &mut issues);
            Object::ListenerSet(made(meta, spec, issues)?)
        }
    })
}

fn bare(kind: Kind, metadata: &ObjectMeta) -> Result<Arc<Obj<()>>, Vec<Issue>> {
    let mut issues = Issues::default();
    let meta = meta::admit(kind, metadata, &mut issues);
    made(meta, (), issues)
}

/// A kind of Kubernetes' own.
fn typed<O, T>(
    kind: Kind,
    value: &Value,
    admit: impl FnOnce(&O, &mut Issues) -> T,
) -> Result<Arc<Obj<T>>, Vec<Issue>>
where
    O: serde::de::DeserializeOwned + Metadata<Ty = ObjectMeta>,
{
    let object: O = read::read(value)?;
    let mut issues = Issues::default();
    let meta = meta::admit(kind, object.metadata(), &mut issues);
    let spec = admit(&object, &mut issues);
    made(meta, spec, issues)
}

/// A kind whose shape in the model is the one that the user writes.
fn custom<S: serde::de::DeserializeOwned>(
    kind: Kind,
    value: &Value,
    check: impl FnOnce(&crate::model::Meta, &S, &mut Issues),
) -> Result<Arc<Obj<S>>, Vec<Issue>> {
    let object: read::Custom<S> = read::read(value)?;
    let mut issues = Issues::default();
    let meta = meta::admit(kind, &object.metadata, &mut issues);
    check(&meta, &object.spec, &mut issues);
    made(meta, object.spec, issues)
}

fn made<T>(meta: crate::model::Meta, spec: T, issues: Issues) -> Result<Arc<Obj<T>>, Vec<Issue>> {
    issues.into_result(Arc::new(Obj { meta, spec }))
}

#[cfg(test)]
mod tests;
