//! What a change of a Gateway, or of what gateways prove themselves with and judge by, has to do with.

use super::{Affected, entries_at, ingresses, naming, of_pod, of_waypoint, pods, targeting};
use crate::engine::facts::Facts;
use crate::engine::target::Target;
use crate::keys;
use crate::model::{CertificateRef, Gateway, Kind, NsName, Obj, Pod};
use crate::world::{Consumer, Moved, World};

pub(super) fn of_gateway(
    world: &World,
    facts: &Facts,
    gateway: &Obj<Gateway>,
    affected: &mut Affected,
) {
    let name = &gateway.meta.name;
    affected.extend(of_waypoint(world, facts, name));
    guarded_by(world, facts, name, affected);
    affected.extend(naming(world, Kind::Gateway, name));
    if world.ingresses.gateway() == name {
        affected.extend(ingresses(world, world.cache.ingresses.iter()));
    }
    // Those of its ListenerSets, too.
    affected.extend(facts.attached.routes(name).cloned().map(Target::Route));
    for address in gateway.spec.waypoint.iter().flat_map(|w| &w.addresses) {
        affected.extend(
            world
                .index
                .gateways_at(*address)
                .cloned()
                .map(Target::Gateway),
        );
        affected.extend(world.index.pods_at(*address).cloned().map(Target::Pod));
        let slices = world.index.slices_listing(*address);
        affected.extend(slices.map(|slice| Target::Endpoint(slice.namespace.clone(), *address)));
        affected.extend(entries_at(world, *address));
    }
    for pod in instances(world, name) {
        of_pod(world, pod, affected);
    }
    // What is a part of it asks for no waypoint.
    let services = world.cache.services.of(&name.namespace);
    let parts = services.filter(|s| s.meta.label(keys::GATEWAY_NAME) == Some(&*name.name));
    for service in parts {
        affected.insert(Target::Service(service.meta.name.clone()));
        affected.extend(naming(world, Kind::Service, &service.meta.name));
    }
    affected.extend(targeting(world, Some(&name.namespace)));
    for consumer in facts.wanted.get(name).into_iter().flatten() {
        affected.extend(targeting(world, Some(&consumer.name().namespace)));
    }
}

/// Pods whose guard may depend on a waypoint.
pub(super) fn guarded_by(world: &World, facts: &Facts, gateway: &NsName, affected: &mut Affected) {
    for consumer in facts.wanted.get(gateway).into_iter().flatten() {
        match consumer {
            Consumer::Pod(name) => drop(affected.insert(Target::Pod(name.clone()))),
            Consumer::Service(name) => affected.extend(pods(world, &name.namespace)),
            // What guards an entry is nothing of a pod.
            Consumer::Entry(_) => {}
        }
    }
}

/// Gateways that name such a Secret, for a listener of theirs or of their ListenerSets, or for backends.
pub(super) fn proven_by(world: &World, such: impl Fn(&NsName) -> bool) -> Vec<Target> {
    let gateways = world.cache.gateways.iter().filter(|gateway| {
        let name = &gateway.meta.name;
        let for_backends = gateway.spec.client_certificate.as_slice();
        let mut listeners = world.listeners(name).unwrap_or_default().iter();
        named(for_backends, &name.namespace, &such)
            || listeners.any(|listener| {
                let (_, own) = listener.owner(name);
                named(&listener.certificates, own, &such)
            })
    });
    gateways
        .map(|gateway| Target::Gateway(gateway.meta.name.clone()))
        .collect()
}

/// Gateways that ask clients for certificates of authorities in such a ConfigMap.
pub(super) fn judging_by(world: &World, such: impl Fn(&NsName) -> bool) -> Vec<Target> {
    let gateways = world.cache.gateways.iter().filter(|gateway| {
        let own = &gateway.meta.name.namespace;
        let mut asked = gateway.spec.frontend.all();
        asked.any(|validation| named(&validation.authorities, own, &such))
    });
    gateways
        .map(|gateway| Target::Gateway(gateway.meta.name.clone()))
        .collect()
}

fn named(references: &[CertificateRef], own: &str, such: impl Fn(&NsName) -> bool) -> bool {
    references.iter().any(|reference| {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        such(&NsName::new(namespace, reference.name.as_str()))
    })
}

/// Those that have to do with Gateways and ListenerSets that have other listeners now.
pub(in crate::engine) fn of_moved(world: &World, moved: &Moved) -> Affected {
    let gateways = moved.gateways.iter().cloned().map(Target::Gateway);
    let sets = moved.sets.iter();
    let routes = sets.flat_map(|set| naming(world, Kind::ListenerSet, set));
    gateways.chain(routes).collect()
}

pub(super) fn of_secret(world: &World, name: &NsName, affected: &mut Affected) {
    affected.extend(proven_by(world, |secret| secret == name));
    let naming = world.cache.ingresses.of(&name.namespace);
    let naming = naming.filter(|ingress| {
        let mut tls = ingress.spec.tls.iter();
        tls.any(|tls| tls.secret.as_deref() == Some(&*name.name))
    });
    affected.extend(ingresses(world, naming));
}

/// Pods that say that they are instances of a waypoint.
fn instances<'a>(world: &'a World, gateway: &'a NsName) -> impl Iterator<Item = &'a Obj<Pod>> {
    let pods = world.cache.pods.of(&gateway.namespace);
    pods.filter(|pod| pod.meta.label(keys::GATEWAY_NAME) == Some(&*gateway.name))
        .map(|pod| &**pod)
}
