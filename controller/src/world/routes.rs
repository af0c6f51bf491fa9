//! Routes and Ingresses by what they name, so that a change of one thing leads to the few routes that it may concern.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::api::{BackendRef, Filter, HttpRouteSpec, ParentRef, StreamRouteSpec};
use crate::model::{Ingress, IngressBackend, Key, Kind, NsName, Object};

/// Routes by Services, ServiceEntries, Gateways and ListenerSets, and by the namespaces of these.
#[derive(Debug, Default)]
pub(super) struct Routes {
    naming: HashMap<Key, BTreeSet<Key>>,
    about: HashMap<Arc<str>, BTreeSet<Key>>,
}

impl Routes {
    /// An object that is no route counts for nothing.
    pub(super) fn set(&mut self, object: &Object, present: bool) {
        let named = match object {
            Object::HttpRoute(o) | Object::GrpcRoute(o) => of_http(&o.spec, &o.meta.name.namespace),
            Object::TlsRoute(o) | Object::TcpRoute(o) => of_stream(&o.spec, &o.meta.name.namespace),
            Object::Ingress(o) => of_ingress(&o.spec, &o.meta.name.namespace),
            _ => return,
        };
        let route = object.key();
        for named in named {
            let namespace = named.name.namespace.clone();
            set(&mut self.about, namespace, &route, present);
            set(&mut self.naming, named, &route, present);
        }
    }

    /// Those that name a Service, ServiceEntry, Gateway or ListenerSet.
    pub(super) fn naming(&self, named: &Key) -> impl Iterator<Item = &Key> + use<'_> {
        self.naming.get(named).into_iter().flatten()
    }

    /// Those that name anything in a namespace.
    pub(super) fn about(&self, namespace: &str) -> impl Iterator<Item = &Key> + use<'_> {
        self.about.get(namespace).into_iter().flatten()
    }
}

fn set<K: Eq + Hash>(map: &mut HashMap<K, BTreeSet<Key>>, key: K, route: &Key, present: bool) {
    if present {
        map.entry(key).or_default().insert(route.clone());
    } else if let Some(routes) = map.get_mut(&key) {
        routes.remove(route);
        if routes.is_empty() {
            map.remove(&key);
        }
    }
}

fn of_http(spec: &HttpRouteSpec, own: &Arc<str>) -> BTreeSet<Key> {
    let mut named = parents(&spec.parent_refs, own);
    for rule in &spec.rules {
        named.extend(mirrors(&rule.filters, own));
        for b in &rule.backend_refs {
            named.insert(backend(b, own));
            named.extend(mirrors(&b.filters, own));
        }
    }
    named
}

fn of_stream(spec: &StreamRouteSpec, own: &Arc<str>) -> BTreeSet<Key> {
    let mut named = parents(&spec.parent_refs, own);
    let backends = spec.rules.iter().flat_map(|rule| &rule.backend_refs);
    named.extend(backends.map(|b| backend(b, own)));
    named
}

fn of_ingress(spec: &Ingress, own: &Arc<str>) -> BTreeSet<Key> {
    let paths = spec.rules.iter().flat_map(|rule| &rule.paths);
    let backends = paths.map(|path| &path.backend).chain(&spec.default_backend);
    let named = backends.filter_map(|backend| match backend {
        IngressBackend::Service(name, _) => Some(key(Kind::Service, None, name, own)),
        IngressBackend::Resource(_) => None,
    });
    named.collect()
}

fn parents(references: &[ParentRef], own: &Arc<str>) -> BTreeSet<Key> {
    let parent = |parent: &ParentRef| {
        let kind = match parent.kind.as_deref() {
            Some("Service") => Kind::Service,
            Some("ServiceEntry") => Kind::ServiceEntry,
            Some("ListenerSet") => Kind::ListenerSet,
            _ => Kind::Gateway,
        };
        key(kind, parent.namespace.as_deref(), &parent.name, own)
    };
    references.iter().map(parent).collect()
}

fn mirrors(filters: &[Filter], own: &Arc<str>) -> impl Iterator<Item = Key> {
    let mirrors = filters.iter().filter_map(|f| f.request_mirror.as_ref());
    mirrors.map(|mirror| backend(&mirror.backend_ref, own))
}

fn backend(backend: &BackendRef, own: &Arc<str>) -> Key {
    let namespace = backend.namespace.as_deref();
    let kind = match backend.kind.as_deref() {
        Some("ServiceEntry") => Kind::ServiceEntry,
        _ => Kind::Service,
    };
    key(kind, namespace, &backend.name, own)
}

fn key(kind: Kind, namespace: Option<&str>, name: &str, own: &Arc<str>) -> Key {
    let namespace = namespace.map_or_else(|| own.clone(), Into::into);
    Key {
        kind,
        name: NsName::new(namespace, name),
    }
}
