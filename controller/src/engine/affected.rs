//! Which resources may be different because of a change.
//!
//! Called before and after the change: what either says is made anew. A target too many costs time, one too few would be
//! a mistake, which the property test of the engine looks for.

mod gateways;

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::facts::Facts;
use super::target::Target;
use crate::api::AuthorizationPolicySpec;
use crate::cache::Table;
use crate::model::{
    Endpoint, EndpointSlice, Ingress, Key, Kind, Meta, NsName, Obj, Object, Pod, Service,
    ServiceEntry,
};
use crate::world::{Consumer, World};
pub(super) use gateways::of_moved;
use gateways::{guarded_by, judging_by, of_gateway, of_secret, proven_by};

/// Targets.
pub(crate) type Affected = BTreeSet<Target>;

/// All there are.
pub(super) fn everything(world: &World) -> Affected {
    let cache = &world.cache;
    let mut affected = Affected::from([Target::Mesh]);
    affected.extend(cache.pods.iter().map(|o| Target::Pod(o.meta.name.clone())));
    affected.extend(
        cache
            .services
            .iter()
            .map(|o| Target::Service(o.meta.name.clone())),
    );
    affected.extend(
        cache
            .gateways
            .iter()
            .map(|o| Target::Gateway(o.meta.name.clone())),
    );
    for kind in Kind::ROUTES {
        affected.extend(cache.objects(kind).iter().map(|o| Target::Route(o.key())));
    }
    affected.extend(ingresses(world, cache.ingresses.iter()));
    let policies = cache.peer_authentications.iter();
    affected.extend(policies.map(|o| Target::PeerAuthentication(o.meta.name.clone())));
    let policies = cache.authorization_policies.iter();
    affected.extend(policies.map(|o| Target::AuthorizationPolicy(o.meta.name.clone())));
    affected.extend(
        cache
            .traffic_policies
            .iter()
            .map(|o| Target::TrafficPolicy(o.meta.name.clone())),
    );
    affected.extend(
        cache
            .fault_policies
            .iter()
            .map(|o| Target::FaultPolicy(o.meta.name.clone())),
    );
    let policies = cache.egress_policies.iter();
    affected.extend(policies.map(|o| Target::EgressPolicy(o.meta.name.clone())));
    let policies = cache.backend_tls.iter();
    affected.extend(policies.map(|o| Target::BackendTlsPolicy(o.meta.name.clone())));
    affected.extend(
        cache
            .backend_traffic_policies
            .iter()
            .map(|o| Target::XBackendTrafficPolicy(o.meta.name.clone())),
    );
    for slice in cache.slices.iter() {
        affected.extend(endpoints(slice));
    }
    let entries = cache.entries.iter();
    affected.extend(entries.map(|o| Target::ServiceEntry(o.meta.name.clone())));
    affected
}

/// Those that an object has something to do with, in the world as it is.
pub(super) fn of(world: &World, facts: &Facts, object: &Object) -> Affected {
    let mut affected = Affected::new();
    let name = &object.meta().name;
    match object {
        Object::Namespace(_) => of_namespace(world, &name.name, &mut affected),
        Object::Node(_) => {
            affected.extend(world.index.pods_on(&name.name).cloned().map(Target::Pod))
        }
        Object::Pod(pod) => of_pod(world, pod, &mut affected),
        Object::Service(service) => of_service(world, facts, service, &mut affected),
        Object::EndpointSlice(slice) => of_slice(world, slice, &mut affected),
        Object::Gateway(gateway) => of_gateway(world, facts, gateway, &mut affected),
        Object::HttpRoute(_) | Object::GrpcRoute(_) => {
            affected.insert(Target::Route(object.key()));
            affected.extend(traffic(world, &name.namespace));
        }
        Object::TlsRoute(_) | Object::TcpRoute(_) => {
            affected.insert(Target::Route(object.key()));
        }
        Object::Secret(_) => of_secret(world, name, &mut affected),
        Object::ReferenceGrant(_) => {
            let namespace = &name.namespace;
            affected.extend(proven_by(world, |secret| secret.namespace == *namespace));
            affected.extend(judging_by(world, |map| map.namespace == *namespace));
            let routes = world.index.routes_about(namespace);
            affected.extend(routes.cloned().map(Target::Route));
        }
        Object::Ingress(ingress) => {
            affected.insert(Target::Gateway(world.ingresses.gateway().clone()));
            affected.insert(Target::Route(object.key()));
            let hosts = ingress.spec.hosts().into_iter();
            affected.extend(hosts.flat_map(|host| asking(world, host)));
        }
        Object::IngressClass(_) => {
            affected.extend(ingresses(world, world.cache.ingresses.iter()));
        }
        Object::MeshConfig(_) => affected = everything(world),
        Object::PeerAuthentication(_) => of_peer_authentication(world, name, &mut affected),
        Object::AuthorizationPolicy(policy) => {
            of_authorization(world, facts, policy, &mut affected);
        }
        Object::TrafficPolicy(_) => {
            affected.insert(Target::TrafficPolicy(name.clone()));
            affected.extend(backend_traffic(world, &name.namespace));
        }
        Object::XBackendTrafficPolicy(_) => {
            affected.insert(Target::XBackendTrafficPolicy(name.clone()));
            affected.extend(backend_traffic(world, &name.namespace));
        }
        Object::FaultPolicy(policy) => {
            affected.insert(Target::FaultPolicy(name.clone()));
            if policy.spec.tcp.is_some() {
                affected.extend(pods(world, &name.namespace));
            }
        }
        Object::EgressPolicy(_) => {
            affected.insert(Target::EgressPolicy(name.clone()));
            if is_root(world, name) {
                let all = world.cache.pods.iter();
                affected.extend(all.map(|pod| Target::Pod(pod.meta.name.clone())));
            } else {
                affected.extend(pods(world, &name.namespace));
            }
        }
        Object::NetworkPolicy(_) => drop(affected.insert(Target::Mesh)),
        Object::ServiceEntry(entry) => of_entry(world, facts, entry, &mut affected),
        Object::ListenerSet(_) => affected.extend(naming(world, Kind::ListenerSet, name)),
        Object::ConfigMap(_) => {
            affected.extend(trusting(world, name));
            affected.extend(judging_by(world, |map| map == name));
        }
        // Of several for the same another one may hold now.
        Object::BackendTlsPolicy(_) => {
            affected.insert(Target::BackendTlsPolicy(name.clone()));
            affected.extend(backend_tls(world, &name.namespace));
        }
        Object::ServiceAccount(_) | Object::GatewayClass(_) => {}
    }
    affected
}

/// Those that a waypoint's being connected or programmed has something to do with.
pub(super) fn of_waypoint(world: &World, facts: &Facts, waypoint: &NsName) -> Affected {
    let mut affected = Affected::from([Target::Gateway(waypoint.clone())]);
    for consumer in facts.wanted.get(waypoint).into_iter().flatten() {
        match consumer {
            Consumer::Pod(name) => drop(affected.insert(Target::Pod(name.clone()))),
            Consumer::Service(name) => {
                affected.insert(Target::Service(name.clone()));
                affected.extend(naming(world, Kind::Service, name));
            }
            Consumer::Entry(name) => {
                affected.insert(Target::ServiceEntry(name.clone()));
                affected.extend(naming(world, Kind::ServiceEntry, name));
            }
        }
    }
    affected
}

fn of_peer_authentication(world: &World, name: &NsName, affected: &mut Affected) {
    affected.insert(Target::PeerAuthentication(name.clone()));
    affected.extend(if is_root(world, name) {
        everything(world)
    } else {
        let policies = world.cache.peer_authentications.of(&name.namespace);
        let policies = policies.map(|o| Target::PeerAuthentication(o.meta.name.clone()));
        policies.chain(pods(world, &name.namespace)).collect()
    });
}

fn of_authorization(
    world: &World,
    facts: &Facts,
    policy: &Obj<AuthorizationPolicySpec>,
    affected: &mut Affected,
) {
    let name = &policy.meta.name;
    affected.insert(Target::AuthorizationPolicy(name.clone()));
    affected.extend(if is_root(world, name) {
        everything(world)
    } else {
        pods(world, &name.namespace).collect()
    });
    for target in &policy.spec.target_refs {
        let target_name = NsName::new(name.namespace.clone(), target.name.as_str());
        match target.kind.as_str() {
            "Gateway" => {
                guarded_by(world, facts, &target_name, affected);
                affected.insert(Target::Gateway(target_name));
            }
            "ServiceEntry" => drop(affected.insert(Target::ServiceEntry(target_name))),
            _ => {}
        }
    }
}

fn of_namespace(world: &World, namespace: &str, affected: &mut Affected) {
    let (pods, services) = (pods(world, namespace), services(world, namespace));
    affected.extend(pods.chain(services));
    let entries = world.cache.entries.of(namespace);
    affected.extend(entries.map(|o| Target::ServiceEntry(o.meta.name.clone())));
    affected.extend(egress(world, namespace));
    affected.extend(routes(world, namespace));
    affected.extend(targeting(world, None));
}

fn of_pod(world: &World, pod: &Obj<Pod>, affected: &mut Affected) {
    affected.insert(Target::Pod(pod.meta.name.clone()));
    let faults = world.cache.fault_policies.of(&pod.meta.name.namespace);
    let faults = faults.filter(|policy| policy.spec.selector.is_some());
    affected.extend(faults.map(|policy| Target::FaultPolicy(policy.meta.name.clone())));
    affected.extend(egress(world, &pod.meta.name.namespace));
    for address in &pod.spec.addresses {
        affected.extend(world.index.pods_at(*address).cloned().map(Target::Pod));
        let slices = world.index.slices_listing(*address);
        affected.extend(slices.map(|slice| Target::Endpoint(slice.namespace.clone(), *address)));
        affected.extend(entries_at(world, *address));
    }
}

/// EgressPolicies that have a word on pods of their own namespace.
fn egress(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    let policies = world.cache.egress_policies.of(namespace);
    policies.map(|policy| Target::EgressPolicy(policy.meta.name.clone()))
}

fn of_service(world: &World, facts: &Facts, service: &Obj<Service>, affected: &mut Affected) {
    let name = &service.meta.name;
    affected.insert(Target::Service(name.clone()));
    if let Some(gateway) = world.cache.gateways.get(name) {
        // It may be the Service of this waypoint.
        of_gateway(world, facts, gateway, affected);
    }
    if !world.index.has_slices(name) {
        affected.extend(selected(world, service));
    }
    for slice in world
        .index
        .slices_for(name)
        .filter_map(|slice| world.cache.slices.get(slice))
    {
        listed(world, slice, affected);
    }
    affected.extend(naming(world, Kind::Service, name));
    affected.extend(
        service
            .spec
            .vips
            .iter()
            .flat_map(|vip| entries_at(world, *vip)),
    );
    of_targets(
        world,
        facts,
        &Consumer::Service(name.clone()),
        &service.meta,
        affected,
    );
}

/// Policies that may be for something that clients address.
fn of_targets(
    world: &World,
    facts: &Facts,
    consumer: &Consumer,
    meta: &Meta,
    affected: &mut Affected,
) {
    let namespace = &consumer.name().namespace;
    affected.extend(traffic(world, namespace));
    affected.extend(backend_tls(world, namespace));
    affected.extend(targeting(world, Some(namespace)));
    for (gateway, _) in facts
        .wanted
        .iter()
        .filter(|(_, consumers)| consumers.contains(consumer))
    {
        affected.extend(targeting(world, Some(&gateway.namespace)));
    }
    let wanted = crate::translate::waypoint::wanted(world, consumer.kind(), meta);
    affected.extend(
        wanted
            .iter()
            .flat_map(|wanted| targeting(world, Some(&wanted.gateway.namespace))),
    );
}

/// Those that a ServiceEntry, or one that would have a host or an address of it too, has something to do with.
fn of_entry(world: &World, facts: &Facts, entry: &Obj<ServiceEntry>, affected: &mut Affected) {
    for name in world
        .index
        .entries_beside(&entry.spec)
        .chain([&entry.meta.name])
    {
        affected.insert(Target::ServiceEntry(name.clone()));
        affected.extend(naming(world, Kind::ServiceEntry, name));
        // Which hosts are an entry's own, policies for it are told.
        let Some(beside) = world.cache.entries.get(name) else {
            continue;
        };
        let consumer = Consumer::Entry(name.clone());
        of_targets(world, facts, &consumer, &beside.meta, affected);
    }
    let consumer = Consumer::Entry(entry.meta.name.clone());
    of_targets(world, facts, &consumer, &entry.meta, affected);
}

/// Entries that have something to do with an address.
fn entries_at(world: &World, address: IpAddr) -> impl Iterator<Item = Target> {
    let entries = world.index.entries_at(address);
    entries.cloned().map(Target::ServiceEntry)
}

fn of_slice(world: &World, slice: &Obj<EndpointSlice>, affected: &mut Affected) {
    listed(world, slice, affected);
    let name = NsName::new(
        slice.meta.name.namespace.clone(),
        slice.spec.service.as_str(),
    );
    let others = world
        .index
        .slices_for(&name)
        .any(|other| *other != slice.meta.name);
    if !others && let Some(service) = world.cache.services.get(&name) {
        // With the first slice the selector ceases to count, with the last one gone it counts again.
        affected.extend(selected(world, service));
    }
}

/// Those that a slice that went from the one form to the other has something to do with: only the endpoints that came
/// and went, if nothing else differs.
pub(super) fn of_slices(
    world: &World,
    before: &Obj<EndpointSlice>,
    now: &Obj<EndpointSlice>,
    affected: &mut Affected,
) {
    if (&before.spec.service, &before.spec.ports) != (&now.spec.service, &now.spec.ports) {
        of_slice(world, before, affected);
        of_slice(world, now, affected);
        return;
    }
    let all = |slice: &'_ Obj<EndpointSlice>| -> HashSet<Endpoint> {
        slice.spec.endpoints.iter().cloned().collect()
    };
    let (before, namespace) = (all(before), &now.meta.name.namespace);
    let now = all(now);
    let differs = before.symmetric_difference(&now);
    listed_endpoints(world, namespace, differs, affected);
}

fn listed(world: &World, slice: &Obj<EndpointSlice>, affected: &mut Affected) {
    let namespace = &slice.meta.name.namespace;
    listed_endpoints(world, namespace, slice.spec.endpoints.iter(), affected);
}

fn listed_endpoints<'a>(
    world: &World,
    namespace: &Arc<str>,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    affected: &mut Affected,
) {
    for endpoint in endpoints {
        if let Some(pod) = &endpoint.pod {
            affected.insert(Target::Pod(NsName::new(namespace.clone(), pod.as_str())));
        }
        for address in &endpoint.addresses {
            let pods = world
                .index
                .pods_at(*address)
                .filter(|pod| pod.namespace == *namespace);
            affected.extend(pods.cloned().map(Target::Pod));
            if endpoint.pod.is_none() {
                affected.insert(Target::Endpoint(namespace.clone(), *address));
            }
        }
    }
}

fn endpoints(slice: &Obj<EndpointSlice>) -> impl Iterator<Item = Target> {
    let namespace = &slice.meta.name.namespace;
    let bare = slice
        .spec
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.pod.is_none());
    let addresses = bare.flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|address| Target::Endpoint(namespace.clone(), *address))
}

fn selected(world: &World, service: &Obj<Service>) -> impl Iterator<Item = Target> {
    let pods = world.cache.pods.of(&service.meta.name.namespace);
    let selected = pods.filter(|pod| service.spec.selects(&pod.meta.labels));
    selected.map(|pod| Target::Pod(pod.meta.name.clone()))
}

fn pods(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    world
        .cache
        .pods
        .of(namespace)
        .map(|pod| Target::Pod(pod.meta.name.clone()))
}

fn services(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    world
        .cache
        .services
        .of(namespace)
        .map(|service| Target::Service(service.meta.name.clone()))
}

/// Routes of a namespace, and those of others that are about what it has.
fn routes(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    fn own<T>(table: &Table<T>, kind: Kind, namespace: &str) -> Vec<Key> {
        let key = |object: &Arc<Obj<T>>| Key {
            kind,
            name: object.meta.name.clone(),
        };
        table.of(namespace).map(key).collect()
    }
    let cache = &world.cache;
    let mut all = own(&cache.routes, Kind::HttpRoute, namespace);
    all.extend(own(&cache.grpc_routes, Kind::GrpcRoute, namespace));
    all.extend(own(&cache.tls_routes, Kind::TlsRoute, namespace));
    all.extend(own(&cache.tcp_routes, Kind::TcpRoute, namespace));
    all.extend(world.index.routes_about(namespace).cloned());
    all.into_iter().map(Target::Route)
}

/// Routes that name a Service, Gateway or ListenerSet.
fn naming(world: &World, kind: Kind, name: &NsName) -> impl Iterator<Item = Target> {
    let name = name.clone();
    let routes = world.index.routes_naming(&Key { kind, name });
    routes.cloned().map(Target::Route)
}

/// Ingresses, and the gateway that serves them if there is any.
fn ingresses<'a>(
    world: &World,
    all: impl Iterator<Item = &'a Arc<Obj<Ingress>>>,
) -> BTreeSet<Target> {
    let target = |ingress: &Arc<Obj<Ingress>>| Target::Route(of_ingress(&ingress.meta.name));
    let mut targets: BTreeSet<_> = all.map(target).collect();
    if !targets.is_empty() {
        targets.insert(Target::Gateway(world.ingresses.gateway().clone()));
    }
    targets
}

/// Ingresses that ask for a host.
pub(super) fn asking(world: &World, host: &str) -> impl Iterator<Item = Target> {
    let names = world.ingresses.asking(host);
    names.map(|name| Target::Route(of_ingress(name)))
}

fn of_ingress(name: &NsName) -> Key {
    Key {
        kind: Kind::Ingress,
        name: name.clone(),
    }
}

/// BackendTLSPolicies that trust by this ConfigMap.
fn trusting(world: &World, config_map: &NsName) -> impl Iterator<Item = Target> {
    let policies = world.cache.backend_tls.of(&config_map.namespace);
    let trusting = policies.filter(|policy| {
        let validation = policy.spec.validation.iter();
        let mut references = validation.flat_map(|v| &v.ca_certificate_refs);
        references.any(|reference| *reference.name == *config_map.name)
    });
    trusting.map(|policy| Target::BackendTlsPolicy(policy.meta.name.clone()))
}

fn backend_tls(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    let policies = world.cache.backend_tls.of(namespace);
    policies.map(|policy| Target::BackendTlsPolicy(policy.meta.name.clone()))
}

/// Policies that may be for a service of a namespace.
fn traffic(world: &World, namespace: &str) -> Vec<Target> {
    let traffic = world.cache.traffic_policies.of(namespace);
    let traffic = traffic.map(|policy| Target::TrafficPolicy(policy.meta.name.clone()));
    let faults = world.cache.fault_policies.of(namespace);
    traffic
        .chain(faults.map(|policy| Target::FaultPolicy(policy.meta.name.clone())))
        .chain(backend_traffic(world, namespace))
        .collect()
}

/// XBackendTrafficPolicies of a namespace: which of them hold depends on each other and on TrafficPolicies.
fn backend_traffic(world: &World, namespace: &str) -> impl Iterator<Item = Target> {
    let policies = world.cache.backend_traffic_policies.of(namespace);
    policies.map(|policy| Target::XBackendTrafficPolicy(policy.meta.name.clone()))
}

/// AuthorizationPolicies with `targetRefs`, of one namespace or all.
fn targeting(world: &World, namespace: Option<&str>) -> Vec<Target> {
    let policies = &world.cache.authorization_policies;
    let of_one = namespace.map(|namespace| policies.of(namespace));
    let of_all = namespace.is_none().then(|| policies.iter());
    let policies = of_one.into_iter().flatten();
    policies
        .chain(of_all.into_iter().flatten())
        .filter(|policy| !policy.spec.target_refs.is_empty())
        .map(|policy| Target::AuthorizationPolicy(policy.meta.name.clone()))
        .collect()
}

fn is_root(world: &World, name: &NsName) -> bool {
    *name.namespace == *world.settings.root_namespace()
}
