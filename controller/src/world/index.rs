//! What is found by other things than its name: pods and gateways by address, slices by service and endpoint, routes by
//! what they name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::entries::{self, Entries};
use super::routes::Routes;
use crate::model::{EndpointSlice, Gateway, Key, NsName, Obj, Object, Pod, ServiceEntry};

/// Names by what they are found by.
#[derive(Debug, Default)]
pub struct Index {
    pods_by_address: Multi<IpAddr>,
    gateways_by_address: Multi<IpAddr>,
    services_by_address: Multi<IpAddr>,
    slices_by_service: Multi<NsName>,
    slices_by_pod: Multi<NsName>,
    /// Of endpoints that do not name their pod.
    slices_by_address: Multi<IpAddr>,
    pods_by_node: BTreeMap<Arc<str>, BTreeSet<NsName>>,
    services: HashSet<NsName>,
    /// Services that no slice lists the endpoints of, by namespace.
    unlisted: BTreeMap<Arc<str>, BTreeSet<NsName>>,
    routes: Routes,
    entries: Entries,
}

#[derive(Debug)]
struct Multi<K>(HashMap<K, BTreeSet<NsName>>);

impl<K> Default for Multi<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Multi<K> {
    fn set(&mut self, key: K, name: &NsName, present: bool) {
        if present {
            self.0.entry(key).or_default().insert(name.clone());
        } else if let Some(names) = self.0.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    fn get(&self, key: &K) -> impl Iterator<Item = &NsName> + use<'_, K> {
        self.0.get(key).into_iter().flatten()
    }
}

impl Index {
    pub(super) fn add(&mut self, object: &Object) {
        self.set(object, true);
    }

    pub(super) fn remove(&mut self, object: &Object) {
        self.set(object, false);
    }

    fn set(&mut self, object: &Object, present: bool) {
        self.routes.set(object, present);
        match object {
            Object::Pod(pod) => self.set_pod(pod, present),
            Object::EndpointSlice(slice) => self.set_slice(slice, present),
            Object::Gateway(gateway) => self.set_gateway(gateway, present),
            Object::ServiceEntry(entry) => self.entries.set(entry, present),
            Object::Service(service) => {
                let name = &service.meta.name;
                for address in &service.spec.vips {
                    self.services_by_address.set(*address, name, present);
                }
                if present {
                    self.services.insert(name.clone());
                } else {
                    self.services.remove(name);
                }
                self.set_unlisted(name);
            }
            _ => {}
        }
    }

    fn set_pod(&mut self, pod: &Obj<Pod>, present: bool) {
        let name = &pod.meta.name;
        if !pod.spec.host_network && !pod.spec.ended {
            for address in &pod.spec.addresses {
                self.pods_by_address.set(*address, name, present);
            }
        }
        let node = self.pods_by_node.entry(pod.spec.node.clone()).or_default();
        if present {
            node.insert(name.clone());
        } else {
            node.remove(name);
        }
    }

    fn set_slice(&mut self, slice: &Obj<EndpointSlice>, present: bool) {
        let name = &slice.meta.name;
        let own = |other: &str| NsName::new(name.namespace.clone(), other);
        let service = own(&slice.spec.service);
        self.slices_by_service.set(service.clone(), name, present);
        self.set_unlisted(&service);
        for endpoint in &slice.spec.endpoints {
            match &endpoint.pod {
                Some(pod) => self.slices_by_pod.set(own(pod), name, present),
                None => {
                    for address in &endpoint.addresses {
                        self.slices_by_address.set(*address, name, present);
                    }
                }
            }
        }
    }

    fn set_unlisted(&mut self, service: &NsName) {
        let unlisted = self.services.contains(service) && !self.has_slices(service);
        let namespace = &service.namespace;
        if unlisted {
            let of_namespace = self.unlisted.entry(namespace.clone()).or_default();
            of_namespace.insert(service.clone());
        } else if let Some(of_namespace) = self.unlisted.get_mut(namespace) {
            of_namespace.remove(service);
            if of_namespace.is_empty() {
                self.unlisted.remove(namespace);
            }
        }
    }

    fn set_gateway(&mut self, gateway: &Obj<Gateway>, present: bool) {
        for address in gateway.spec.waypoint.iter().flat_map(|w| &w.addresses) {
            self.gateways_by_address
                .set(*address, &gateway.meta.name, present);
        }
    }

    /// Running pods of this address, but for those that share their node's.
    pub fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = &NsName> + use<'_> {
        self.pods_by_address.get(&address)
    }

    /// Waypoints of this address.
    pub fn gateways_at(&self, address: IpAddr) -> impl Iterator<Item = &NsName> + use<'_> {
        self.gateways_by_address.get(&address)
    }

    /// Whether anybody in the cluster is known to have an address: a service, a pod, or a waypoint.
    #[must_use]
    pub fn is_known(&self, address: IpAddr) -> bool {
        self.services_by_address.get(&address).next().is_some()
            || self.pods_at(address).next().is_some()
            || self.gateways_at(address).next().is_some()
    }

    /// Entries that have a host.
    pub fn entries_naming(&self, host: &str) -> impl Iterator<Item = &NsName> + use<'_> {
        self.entries.naming(host)
    }

    /// Entries that have an address, were given it, or are reached at it.
    pub fn entries_at(&self, address: IpAddr) -> impl Iterator<Item = &NsName> + use<'_> {
        self.entries.at(address)
    }

    /// Entries that have a host or an address in common with this one, itself included.
    pub fn entries_beside<'a>(
        &'a self,
        entry: &'a ServiceEntry,
    ) -> impl Iterator<Item = &'a NsName> + use<'a> {
        let named = entry
            .hosts
            .iter()
            .flat_map(|host| self.entries_naming(host));
        named.chain(entries::addresses(entry).flat_map(|address| self.entries_at(address)))
    }

    /// Whether someone else keeps the endpoints of a service.
    #[must_use]
    pub fn has_slices(&self, service: &NsName) -> bool {
        self.slices_by_service.0.contains_key(service)
    }

    /// Services of a namespace that nobody else keeps the endpoints of.
    pub fn unlisted(&self, namespace: &str) -> impl Iterator<Item = &NsName> + use<'_> {
        self.unlisted.get(namespace).into_iter().flatten()
    }

    /// Slices that list a pod by name.
    pub fn slices_of(&self, pod: &NsName) -> impl Iterator<Item = &NsName> + use<'_> {
        self.slices_by_pod.get(pod)
    }

    /// Slices of a service.
    pub fn slices_for(&self, service: &NsName) -> impl Iterator<Item = &NsName> + use<'_> {
        self.slices_by_service.get(service)
    }

    /// Slices that list a bare address.
    pub fn slices_listing(&self, address: IpAddr) -> impl Iterator<Item = &NsName> + use<'_> {
        self.slices_by_address.get(&address)
    }

    /// Those of one namespace.
    pub fn slices_at<'a>(
        &'a self,
        namespace: &'a str,
        address: IpAddr,
    ) -> impl Iterator<Item = &'a NsName> + use<'a> {
        self.slices_listing(address)
            .filter(move |slice| *slice.namespace == *namespace)
    }

    /// Routes that name a Service or a ServiceEntry, as parent or backend, or a Gateway.
    pub fn routes_naming(&self, named: &Key) -> impl Iterator<Item = &Key> + use<'_> {
        self.routes.naming(named)
    }

    /// Routes that name anything of a namespace.
    pub fn routes_about(&self, namespace: &str) -> impl Iterator<Item = &Key> + use<'_> {
        self.routes.about(namespace)
    }

    /// Pods of a node.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &NsName> + use<'_> {
        self.pods_by_node.get(node).into_iter().flatten()
    }
}
