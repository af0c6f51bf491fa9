//! An object as the watcher reads it: admitted while it is read, so that nothing of its text is kept.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::book::Told;
use super::trim::trim;
use crate::admit::{SECRET_TYPE, admit};
use crate::model::{Key, Kind, NsName, Object};
use crate::path::Issue;

/// An object of kind `Kind::ALL[KIND]`.
#[derive(Clone, Debug)]
pub(super) struct Read<const KIND: usize> {
    /// Name and version.
    metadata: ObjectMeta,
    pub(super) looked: Looked,
}

/// What became of an object.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) key: Key,
    /// Equal for equal objects.
    pub(super) version: String,
    pub(super) outcome: Outcome,
    /// What is needed to write its status.
    pub(super) told: Option<Told>,
}

/// Whether it is an object of the mesh.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It is.
    Good(Object),
    /// It would be, but for this.
    Bad(Vec<Issue>),
    /// It is none of ours.
    Foreign,
}

impl Looked {
    pub(super) fn at(kind: Kind, value: Value) -> Self {
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
        let key = Key {
            kind,
            name: NsName::new(text("namespace"), text("name")),
        };
        let version = format!("{} {}", text("uid"), text("resourceVersion"));
        let told = Told::of(kind, &value);
        let outcome = match trim(kind, value).map(|value| admit(&value)) {
            None => Outcome::Foreign,
            Some(Ok(object)) => Outcome::Good(object),
            Some(Err(refusal)) => Outcome::Bad(refusal.issues),
        };
        let told = told.filter(|_| !matches!(outcome, Outcome::Foreign));
        Self {
            key,
            version,
            outcome,
            told,
        }
    }
}

impl<'de, const KIND: usize> Deserialize<'de> for Read<KIND> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self {
            metadata,
            looked: Looked::at(Kind::ALL[KIND], value),
        })
    }
}

/// Which objects of a kind are asked for, where not all are: others never leave the API server.
pub(super) fn selector(kind: Kind) -> Option<String> {
    (kind == Kind::Secret).then(|| format!("type={SECRET_TYPE}"))
}

/// Group, version and plural of a kind, as its path in the API has them.
pub(crate) fn resource(kind: Kind) -> (&'static str, &'static str, String) {
    let api_version = kind.api_versions()[0];
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = kind.as_str().to_ascii_lowercase();
    let plural = match kind {
        Kind::GatewayClass | Kind::IngressClass | Kind::Ingress => format!("{name}es"),
        Kind::NetworkPolicy
        | Kind::AuthorizationPolicy
        | Kind::TrafficPolicy
        | Kind::BackendTlsPolicy
        | Kind::FaultPolicy
        | Kind::ServiceEntry
        | Kind::EgressPolicy
        | Kind::XBackendTrafficPolicy => {
            format!("{}ies", name.trim_end_matches('y'))
        }
        _ => format!("{name}s"),
    };
    (group, version, plural)
}

impl<const KIND: usize> Resource for Read<KIND> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Kind::ALL[KIND].as_str().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        resource(Kind::ALL[KIND]).0.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        resource(Kind::ALL[KIND]).1.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        resource(Kind::ALL[KIND]).2.into()
    }

    /// Of some kinds only the metadata counts.
    fn metadata_api() -> bool {
        matches!(
            Kind::ALL[KIND],
            Kind::Namespace | Kind::Node | Kind::ServiceAccount | Kind::NetworkPolicy
        )
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = |kind| {
            let (group, version, plural) = resource(kind);
            format!("{group}/{version}/{plural}")
        };
        for (kind, expected) in [
            (Kind::Pod, "/v1/pods"),
            (Kind::NetworkPolicy, "networking.k8s.io/v1/networkpolicies"),
            (Kind::Ingress, "networking.k8s.io/v1/ingresses"),
            (Kind::IngressClass, "networking.k8s.io/v1/ingressclasses"),
            (Kind::EndpointSlice, "discovery.k8s.io/v1/endpointslices"),
            (Kind::Secret, "/v1/secrets"),
            (Kind::ConfigMap, "/v1/configmaps"),
            (
                Kind::ListenerSet,
                "gateway.networking.k8s.io/v1/listenersets",
            ),
            (
                Kind::ReferenceGrant,
                "gateway.networking.k8s.io/v1beta1/referencegrants",
            ),
            (Kind::TlsRoute, "gateway.networking.k8s.io/v1/tlsroutes"),
            (Kind::TcpRoute, "gateway.networking.k8s.io/v1/tcproutes"),
            (
                Kind::BackendTlsPolicy,
                "gateway.networking.k8s.io/v1/backendtlspolicies",
            ),
            (
                Kind::XBackendTrafficPolicy,
                "gateway.networking.x-k8s.io/v1alpha1/xbackendtrafficpolicies",
            ),
            (Kind::HttpRoute, "gateway.networking.k8s.io/v1/httproutes"),
            (Kind::GrpcRoute, "gateway.networking.k8s.io/v1/grpcroutes"),
            (
                Kind::GatewayClass,
                "gateway.networking.k8s.io/v1/gatewayclasses",
            ),
            (
                Kind::AuthorizationPolicy,
                "culvert.dev/v1alpha1/authorizationpolicies",
            ),
            (Kind::ServiceEntry, "culvert.dev/v1alpha1/serviceentries"),
            (
                Kind::PeerAuthentication,
                "culvert.dev/v1alpha1/peerauthentications",
            ),
        ] {
            assert_eq!(path(kind), expected);
        }
    }
}
