//! The one cache of objects, whatever their source, by kind, namespace and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api;
use crate::model::{
    BackendTls, CaBundle, EndpointSlice, Gateway, Ingress, IngressClass, Key, Kind, ListenerSet,
    NsName, Obj, Object, Pod, Service, ServiceEntry, TlsSecret,
};

/// Objects of one kind.
#[derive(Debug)]
pub struct Table<T> {
    by_namespace: BTreeMap<Arc<str>, Names<T>>,
}

/// Objects of one namespace.
type Names<T> = BTreeMap<Arc<str>, Arc<Obj<T>>>;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            by_namespace: BTreeMap::new(),
        }
    }
}

impl<T> Table<T> {
    /// The object of this name.
    #[must_use]
    pub fn get(&self, name: &NsName) -> Option<&Arc<Obj<T>>> {
        self.find(&name.namespace, &name.name)
    }

    /// The same, by its parts.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<&Arc<Obj<T>>> {
        self.by_namespace.get(namespace)?.get(name)
    }

    /// All of one namespace, by name.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Obj<T>>> + use<'_, T> {
        self.by_namespace
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Namespaces that have any, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(|name| &**name)
    }

    /// All, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Obj<T>>> {
        self.by_namespace.values().flat_map(BTreeMap::values)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_namespace.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    fn put(&mut self, object: Arc<Obj<T>>) -> Option<Arc<Obj<T>>> {
        let NsName { namespace, name } = object.meta.name.clone();
        self.by_namespace
            .entry(namespace)
            .or_default()
            .insert(name, object)
    }

    fn remove(&mut self, name: &NsName) -> Option<Arc<Obj<T>>> {
        let namespace = self.by_namespace.get_mut(&name.namespace)?;
        let removed = namespace.remove(&name.name);
        if namespace.is_empty() {
            self.by_namespace.remove(&name.namespace);
        }
        removed
    }
}

/// All objects of the mesh.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "one table for each kind")]
pub struct Cache {
    pub namespaces: Table<()>,
    pub nodes: Table<()>,
    pub pods: Table<Pod>,
    pub services: Table<Service>,
    pub slices: Table<EndpointSlice>,
    pub service_accounts: Table<()>,
    pub network_policies: Table<()>,
    pub gateway_classes: Table<()>,
    pub gateways: Table<Gateway>,
    pub routes: Table<api::HttpRouteSpec>,
    pub grpc_routes: Table<api::HttpRouteSpec>,
    pub mesh_configs: Table<api::MeshConfigSpec>,
    pub peer_authentications: Table<api::PeerAuthenticationSpec>,
    pub authorization_policies: Table<api::AuthorizationPolicySpec>,
    pub traffic_policies: Table<api::TrafficPolicySpec>,
    pub fault_policies: Table<api::FaultPolicySpec>,
    pub secrets: Table<TlsSecret>,
    pub grants: Table<api::ReferenceGrantSpec>,
    pub tls_routes: Table<api::StreamRouteSpec>,
    pub tcp_routes: Table<api::StreamRouteSpec>,
    pub ingresses: Table<Ingress>,
    pub ingress_classes: Table<IngressClass>,
    pub entries: Table<ServiceEntry>,
    pub egress_policies: Table<api::EgressPolicySpec>,
    pub config_maps: Table<CaBundle>,
    pub backend_tls: Table<BackendTls>,
    pub backend_traffic_policies: Table<api::BackendTrafficPolicySpec>,
    pub listener_sets: Table<ListenerSet>,
}

impl Cache {
    /// Add or replace an object; gives back the one before.
    pub fn put(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Namespace(o) => self.namespaces.put(o).map(Object::Namespace),
            Object::Node(o) => self.nodes.put(o).map(Object::Node),
            Object::Pod(o) => self.pods.put(o).map(Object::Pod),
            Object::Service(o) => self.services.put(o).map(Object::Service),
            Object::EndpointSlice(o) => self.slices.put(o).map(Object::EndpointSlice),
            Object::ServiceAccount(o) => self.service_accounts.put(o).map(Object::ServiceAccount),
            Object::NetworkPolicy(o) => self.network_policies.put(o).map(Object::NetworkPolicy),
            Object::GatewayClass(o) => self.gateway_classes.put(o).map(Object::GatewayClass),
            Object::Gateway(o) => self.gateways.put(o).map(Object::Gateway),
            Object::HttpRoute(o) => self.routes.put(o).map(Object::HttpRoute),
            Object::GrpcRoute(o) => self.grpc_routes.put(o).map(Object::GrpcRoute),
            Object::MeshConfig(o) => self.mesh_configs.put(o).map(Object::MeshConfig),
            Object::PeerAuthentication(o) => {
                let before = self.peer_authentications.put(o);
                before.map(Object::PeerAuthentication)
            }
            Object::AuthorizationPolicy(o) => {
                let before = self.authorization_policies.put(o);
                before.map(Object::AuthorizationPolicy)
            }
            Object::TrafficPolicy(o) => self.traffic_policies.put(o).map(Object::TrafficPolicy),
            Object::FaultPolicy(o) => self.fault_policies.put(o).map(Object::FaultPolicy),
            Object::Secret(o) => self.secrets.put(o).map(Object::Secret),
            Object::ReferenceGrant(o) => self.grants.put(o).map(Object::ReferenceGrant),
            Object::TlsRoute(o) => self.tls_routes.put(o).map(Object::TlsRoute),
            Object::TcpRoute(o) => self.tcp_routes.put(o).map(Object::TcpRoute),
            Object::Ingress(o) => self.ingresses.put(o).map(Object::Ingress),
            Object::IngressClass(o) => self.ingress_classes.put(o).map(Object::IngressClass),
            Object::ServiceEntry(o) => self.entries.put(o).map(Object::ServiceEntry),
            Object::EgressPolicy(o) => self.egress_policies.put(o).map(Object::EgressPolicy),
            Object::ConfigMap(o) => self.config_maps.put(o).map(Object::ConfigMap),
            Object::BackendTlsPolicy(o) => self.backend_tls.put(o).map(Object::BackendTlsPolicy),
            Object::XBackendTrafficPolicy(o) => {
                let before = self.backend_traffic_policies.put(o);
                before.map(Object::XBackendTrafficPolicy)
            }
            Object::ListenerSet(o) => self.listener_sets.put(o).map(Object::ListenerSet),
        }
    }

    /// Remove an object; gives it back.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let name = &key.name;
        match key.kind {
            Kind::Namespace => self.namespaces.remove(name).map(Object::Namespace),
            Kind::Node => self.nodes.remove(name).map(Object::Node),
            Kind::Pod => self.pods.remove(name).map(Object::Pod),
            Kind::Service => self.services.remove(name).map(Object::Service),
            Kind::EndpointSlice => self.slices.remove(name).map(Object::EndpointSlice),
            Kind::ServiceAccount => self
                .service_accounts
                .remove(name)
                .map(Object::ServiceAccount),
            Kind::NetworkPolicy => self
                .network_policies
                .remove(name)
                .map(Object::NetworkPolicy),
            Kind::GatewayClass => self.gateway_classes.remove(name).map(Object::GatewayClass),
            Kind::Gateway => self.gateways.remove(name).map(Object::Gateway),
            Kind::HttpRoute => self.routes.remove(name).map(Object::HttpRoute),
            Kind::GrpcRoute => self.grpc_routes.remove(name).map(Object::GrpcRoute),
            Kind::MeshConfig => self.mesh_configs.remove(name).map(Object::MeshConfig),
            Kind::PeerAuthentication => {
                let removed = self.peer_authentications.remove(name);
                removed.map(Object::PeerAuthentication)
            }
            Kind::AuthorizationPolicy => {
                let removed = self.authorization_policies.remove(name);
                removed.map(Object::AuthorizationPolicy)
            }
            Kind::TrafficPolicy => self
                .traffic_policies
                .remove(name)
                .map(Object::TrafficPolicy),
            Kind::FaultPolicy => self.fault_policies.remove(name).map(Object::FaultPolicy),
            Kind::Secret => self.secrets.remove(name).map(Object::Secret),
            Kind::ReferenceGrant => self.grants.remove(name).map(Object::ReferenceGrant),
            Kind::TlsRoute => self.tls_routes.remove(name).map(Object::TlsRoute),
            Kind::TcpRoute => self.tcp_routes.remove(name).map(Object::TcpRoute),
            Kind::Ingress => self.ingresses.remove(name).map(Object::Ingress),
            Kind::IngressClass => {
                let removed = self.ingress_classes.remove(name);
                removed.map(Object::IngressClass)
            }
            Kind::ServiceEntry => self.entries.remove(name).map(Object::ServiceEntry),
            Kind::EgressPolicy => {
                let removed = self.egress_policies.remove(name);
                removed.map(Object::EgressPolicy)
            }
            Kind::ConfigMap => self.config_maps.remove(name).map(Object::ConfigMap),
            Kind::BackendTlsPolicy => {
                let removed = self.backend_tls.remove(name);
                removed.map(Object::BackendTlsPolicy)
            }
            Kind::XBackendTrafficPolicy => {
                let removed = self.backend_traffic_policies.remove(name);
                removed.map(Object::XBackendTrafficPolicy)
            }
            Kind::ListenerSet => self.listener_sets.remove(name).map(Object::ListenerSet),
        }
    }

    /// The object of this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Object> {
        let name = &key.name;
        match key.kind {
            Kind::Namespace => self.namespaces.get(name).cloned().map(Object::Namespace),
            Kind::Node => self.nodes.get(name).cloned().map(Object::Node),
            Kind::Pod => self.pods.get(name).cloned().map(Object::Pod),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.slices.get(name).cloned().map(Object::EndpointSlice),
            Kind::ServiceAccount => {
                let object = self.service_accounts.get(name).cloned();
                object.map(Object::ServiceAccount)
            }
            Kind::NetworkPolicy => {
                let object = self.network_policies.get(name).cloned();
                object.map(Object::NetworkPolicy)
            }
            Kind::GatewayClass => {
                let object = self.gateway_classes.get(name).cloned();
                object.map(Object::GatewayClass)
            }
            Kind::Gateway => self.gateways.get(name).cloned().map(Object::Gateway),
            Kind::HttpRoute => self.routes.get(name).cloned().map(Object::HttpRoute),
            Kind::GrpcRoute => self.grpc_routes.get(name).cloned().map(Object::GrpcRoute),
            Kind::MeshConfig => self.mesh_configs.get(name).cloned().map(Object::MeshConfig),
            Kind::PeerAuthentication => {
                let object = self.peer_authentications.get(name).cloned();
                object.map(Object::PeerAuthentication)
            }
            Kind::AuthorizationPolicy => {
                let object = self.authorization_policies.get(name).cloned();
                object.map(Object::AuthorizationPolicy)
            }
            Kind::TrafficPolicy => {
                let object = self.traffic_policies.get(name).cloned();
                object.map(Object::TrafficPolicy)
            }
            Kind::FaultPolicy => self
                .fault_policies
                .get(name)
                .cloned()
                .map(Object::FaultPolicy),
            Kind::Secret => self.secrets.get(name).cloned().map(Object::Secret),
            Kind::ReferenceGrant => {
                let object = self.grants.get(name).cloned();
                object.map(Object::ReferenceGrant)
            }
            Kind::TlsRoute => self.tls_routes.get(name).cloned().map(Object::TlsRoute),
            Kind::TcpRoute => self.tcp_routes.get(name).cloned().map(Object::TcpRoute),
            Kind::Ingress => self.ingresses.get(name).cloned().map(Object::Ingress),
            Kind::IngressClass => {
                let object = self.ingress_classes.get(name).cloned();
                object.map(Object::IngressClass)
            }
            Kind::ServiceEntry => self.entries.get(name).cloned().map(Object::ServiceEntry),
            Kind::EgressPolicy => {
                let object = self.egress_policies.get(name).cloned();
                object.map(Object::EgressPolicy)
            }
            Kind::ConfigMap => self.config_maps.get(name).cloned().map(Object::ConfigMap),
            Kind::BackendTlsPolicy => {
                let object = self.backend_tls.get(name).cloned();
                object.map(Object::BackendTlsPolicy)
            }
            Kind::XBackendTrafficPolicy => {
                let object = self.backend_traffic_policies.get(name).cloned();
                object.map(Object::XBackendTrafficPolicy)
            }
            Kind::ListenerSet => {
                let object = self.listener_sets.get(name).cloned();
                object.map(Object::ListenerSet)
            }
        }
    }

    /// All objects of a kind.
    #[must_use]
    pub fn objects(&self, kind: Kind) -> Vec<Object> {
        fn all<T>(table: &Table<T>, make: impl Fn(Arc<Obj<T>>) -> Object) -> Vec<Object> {
            table.iter().cloned().map(make).collect()
        }
        match kind {
            Kind::Namespace => all(&self.namespaces, Object::Namespace),
            Kind::Node => all(&self.nodes, Object::Node),
            Kind::Pod => all(&self.pods, Object::Pod),
            Kind::Service => all(&self.services, Object::Service),
            Kind::EndpointSlice => all(&self.slices, Object::EndpointSlice),
            Kind::ServiceAccount => all(&self.service_accounts, Object::ServiceAccount),
            Kind::NetworkPolicy => all(&self.network_policies, Object::NetworkPolicy),
            Kind::GatewayClass => all(&self.gateway_classes, Object::GatewayClass),
            Kind::Gateway => all(&self.gateways, Object::Gateway),
            Kind::HttpRoute => all(&self.routes, Object::HttpRoute),
            Kind::GrpcRoute => all(&self.grpc_routes, Object::GrpcRoute),
            Kind::MeshConfig => all(&self.mesh_configs, Object::MeshConfig),
            Kind::PeerAuthentication => all(&self.peer_authentications, Object::PeerAuthentication),
            Kind::AuthorizationPolicy => {
                all(&self.authorization_policies, Object::AuthorizationPolicy)
            }
            Kind::TrafficPolicy => all(&self.traffic_policies, Object::TrafficPolicy),
            Kind::FaultPolicy => all(&self.fault_policies, Object::FaultPolicy),
            Kind::Secret => all(&self.secrets, Object::Secret),
            Kind::ReferenceGrant => all(&self.grants, Object::ReferenceGrant),
            Kind::TlsRoute => all(&self.tls_routes, Object::TlsRoute),
            Kind::TcpRoute => all(&self.tcp_routes, Object::TcpRoute),
            Kind::Ingress => all(&self.ingresses, Object::Ingress),
            Kind::IngressClass => all(&self.ingress_classes, Object::IngressClass),
            Kind::ServiceEntry => all(&self.entries, Object::ServiceEntry),
            Kind::EgressPolicy => all(&self.egress_policies, Object::EgressPolicy),
            Kind::ConfigMap => all(&self.config_maps, Object::ConfigMap),
            Kind::BackendTlsPolicy => all(&self.backend_tls, Object::BackendTlsPolicy),
            Kind::XBackendTrafficPolicy => {
                let policies = &self.backend_traffic_policies;
                all(policies, Object::XBackendTrafficPolicy)
            }
            Kind::ListenerSet => all(&self.listener_sets, Object::ListenerSet),
        }
    }

    /// How many of each kind.
    #[must_use]
    pub fn counts(&self) -> [(Kind, usize); 28] {
        [
            (Kind::Namespace, self.namespaces.len()),
            (Kind::Node, self.nodes.len()),
            (Kind::Pod, self.pods.len()),
            (Kind::Service, self.services.len()),
            (Kind::EndpointSlice, self.slices.len()),
            (Kind::ServiceAccount, self.service_accounts.len()),
            (Kind::NetworkPolicy, self.network_policies.len()),
            (Kind::GatewayClass, self.gateway_classes.len()),
            (Kind::Gateway, self.gateways.len()),
            (Kind::HttpRoute, self.routes.len()),
            (Kind::GrpcRoute, self.grpc_routes.len()),
            (Kind::MeshConfig, self.mesh_configs.len()),
            (Kind::PeerAuthentication, self.peer_authentications.len()),
            (Kind::AuthorizationPolicy, self.authorization_policies.len()),
            (Kind::TrafficPolicy, self.traffic_policies.len()),
            (Kind::FaultPolicy, self.fault_policies.len()),
            (Kind::Secret, self.secrets.len()),
            (Kind::ReferenceGrant, self.grants.len()),
            (Kind::TlsRoute, self.tls_routes.len()),
            (Kind::TcpRoute, self.tcp_routes.len()),
            (Kind::Ingress, self.ingresses.len()),
            (Kind::IngressClass, self.ingress_classes.len()),
            (Kind::ServiceEntry, self.entries.len()),
            (Kind::EgressPolicy, self.egress_policies.len()),
            (Kind::ConfigMap, self.config_maps.len()),
            (Kind::BackendTlsPolicy, self.backend_tls.len()),
            (
                Kind::XBackendTrafficPolicy,
                self.backend_traffic_policies.len(),
            ),
            (Kind::ListenerSet, self.listener_sets.len()),
        ]
    }

    /// The route of HTTP of this key, of whichever kind.
    #[must_use]
    pub fn route(&self, key: &Key) -> Option<&Arc<Obj<api::HttpRouteSpec>>> {
        match key.kind {
            Kind::HttpRoute => self.routes.get(&key.name),
            Kind::GrpcRoute => self.grpc_routes.get(&key.name),
            _ => None,
        }
    }

    /// The route of connections of this key, of whichever kind.
    #[must_use]
    pub fn stream_route(&self, key: &Key) -> Option<&Arc<Obj<api::StreamRouteSpec>>> {
        match key.kind {
            Kind::TlsRoute => self.tls_routes.get(&key.name),
            Kind::TcpRoute => self.tcp_routes.get(&key.name),
            _ => None,
        }
    }

    /// A label of a namespace, which need not be declared.
    #[must_use]
    pub fn namespace_label(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.find("", namespace)?.meta.label(key)
    }
}
