//! What the API server says of objects beside what they ask for: their status, which is ours to write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::admit::CAPTURED;
use crate::model::{Key, Kind, NsName};

/// The status of each object that has one of ours.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<HashMap<Key, Told>>>);

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Which object of this name.
    pub uid: String,
    /// A write for an older version is refused.
    pub version: String,
    /// Of its spec.
    pub generation: i64,
    /// Where a pod runs.
    pub node: String,
    /// Conditions of a pod are but its captured one.
    pub status: Value,
    /// What a status is made from beside the conditions.
    pub spec: Value,
}

/// What a route, or a ListenerSet, refers to as its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// A Service or a ServiceEntry.
    Service,
    /// A Gateway.
    Gateway(NsName),
    /// A ListenerSet.
    ListenerSet(NsName),
    /// Something else.
    Other,
}

impl Parent {
    /// Whether it is ours to speak of, given which Gateways and ListenerSets are.
    pub fn is_ours(
        &self,
        gateways: impl Fn(&NsName) -> bool,
        sets: impl Fn(&NsName) -> bool,
    ) -> bool {
        match self {
            Self::Service => true,
            Self::Gateway(name) => gateways(name),
            Self::ListenerSet(name) => sets(name),
            Self::Other => false,
        }
    }
}

impl Told {
    /// The parents of a route or ListenerSet of this namespace, as they are written and as what.
    pub fn parents<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Value, Parent)> + use<'a> {
        let one = self.spec.get("parentRef").into_iter();
        let many = self.spec["parentRefs"].as_array().into_iter().flatten();
        let parents = one.chain(many);
        parents.map(move |parent| {
            let text = |field: &str| parent[field].as_str();
            let kind = text("kind").unwrap_or("Gateway");
            let group = text("group").unwrap_or("gateway.networking.k8s.io");
            let seen = match (kind, group) {
                ("Service", _) | ("ServiceEntry", "culvert.dev") => Parent::Service,
                (kind @ ("Gateway" | "ListenerSet"), "gateway.networking.k8s.io") => {
                    let namespace = text("namespace").unwrap_or(namespace);
                    let name = NsName::new(namespace, text("name").unwrap_or_default());
                    if kind == "Gateway" {
                        Parent::Gateway(name)
                    } else {
                        Parent::ListenerSet(name)
                    }
                }
                _ => Parent::Other,
            };
            (parent, seen)
        })
    }

    pub(super) fn of(kind: Kind, value: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            let text = value.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let mut told = Self {
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
            generation: value["metadata"]["generation"].as_i64().unwrap_or_default(),
            ..Self::default()
        };
        match kind {
            Kind::Pod => {
                told.node = text("/spec/nodeName");
                let conditions = value["status"]["conditions"].as_array().into_iter();
                let captured = conditions.flatten().find(|c| c["type"] == CAPTURED);
                told.status = captured.cloned().unwrap_or_default();
            }
            Kind::Gateway => {
                told.spec = json!({"listeners": value["spec"]["listeners"], "addresses": value["spec"]["addresses"]});
                told.status = value["status"].clone();
            }
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute => {
                told.spec = json!({"parentRefs": value["spec"]["parentRefs"]});
                told.status = value["status"].clone();
            }
            Kind::Ingress => told.status = value["status"].clone(),
            Kind::BackendTlsPolicy => told.status = value["status"].clone(),
            Kind::ListenerSet => {
                told.spec = json!({"parentRef": value["spec"]["parentRef"]});
                told.status = value["status"].clone();
            }
            Kind::GatewayClass => {
                told.spec = json!({"controllerName": value["spec"]["controllerName"]});
                told.status = value["status"].clone();
            }
            Kind::MeshConfig
            | Kind::PeerAuthentication
            | Kind::AuthorizationPolicy
            | Kind::TrafficPolicy
            | Kind::FaultPolicy
            | Kind::EgressPolicy
            | Kind::XBackendTrafficPolicy => {
                told.spec = json!({"targetRefs": value["spec"]["targetRefs"]});
                told.status = value["status"].clone();
            }
            Kind::ServiceEntry => told.status = value["status"].clone(),
            _ => return None,
        }
        Some(told)
    }
}

impl Book {
    pub(super) fn set(&self, key: &Key, told: Option<Told>) {
        match told {
            Some(told) => drop(self.lock().insert(key.clone(), told)),
            None => drop(self.lock().remove(key)),
        }
    }

    /// What is told of an object.
    #[cfg(test)]
    pub(crate) fn put(&self, key: &Key, told: Told) {
        self.set(key, Some(told));
    }

    /// What is known of one object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Told> {
        self.lock().get(key).cloned()
    }

    /// All objects of kinds whose status says more than capture.
    #[must_use]
    pub fn all(&self) -> Vec<(Key, Told)> {
        let all = self.lock();
        let shown = all.iter().filter(|(key, _)| key.kind != Kind::Pod);
        shown
            .map(|(key, told)| (key.clone(), told.clone()))
            .collect()
    }

    /// Pods that have our condition.
    #[must_use]
    pub fn marked(&self) -> Vec<(Key, Told)> {
        let all = self.lock();
        let marked = all
            .iter()
            .filter(|(key, told)| key.kind == Kind::Pod && !told.status.is_null());
        marked
            .map(|(key, told)| (key.clone(), told.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
