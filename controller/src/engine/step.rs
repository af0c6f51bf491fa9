//! The steps of the engine: taking events, and translating one target.

use culvert_proto::node::PodState;

use super::facts::PodFacts;
use super::store::Shelf;
use super::*;

impl Engine {
    pub(super) fn take_batch(&mut self, batch: Batch) -> Affected {
        let mut affected = Affected::new();
        self.seen.0 = batch.seen;
        for change in batch.changes {
            match change {
                Change::Put(object, origin) => {
                    let key = object.key();
                    let before = self.object(&key);
                    self.place(&key, origin);
                    if before.as_ref() == Some(&object) {
                        // Only its place in the file is another one.
                        continue;
                    }
                    if let (Some(Object::EndpointSlice(before)), Object::EndpointSlice(now)) =
                        (&before, &object)
                    {
                        let (before, now) = (before.clone(), now.clone());
                        self.world.put(&object);
                        affected::of_slices(&self.world, &before, &now, &mut affected);
                        continue;
                    }
                    if let Some(before) = &before {
                        affected.extend(affected::of(&self.world, &self.facts, before));
                    }
                    self.world.put(&object);
                    affected.extend(affected::of(&self.world, &self.facts, &object));
                }
                Change::Remove(key) => {
                    self.place(&key, Origin::default());
                    if let Some(before) = self.object(&key) {
                        affected.extend(affected::of(&self.world, &self.facts, &before));
                        self.world.remove(&key);
                        affected.extend(affected::of(&self.world, &self.facts, &before));
                    }
                }
            }
        }
        let moved = self.world.take_moved();
        affected.extend(affected::of_moved(&self.world, &moved));
        if self.problems.rejected(batch.rejections) {
            // They are to be published at least.
            affected.insert(Target::Mesh);
        }
        affected
    }

    /// Where an object was read. That it was in no file need not be remembered.
    fn place(&mut self, key: &Key, origin: Origin) {
        let before = if origin == Origin::default() {
            self.origins.remove(key)
        } else {
            self.origins.insert(key.clone(), origin)
        };
        if before.as_ref() != self.origins.get(key) {
            self.problems.stale();
        }
    }

    fn object(&self, key: &Key) -> Option<Object> {
        self.world.cache.get(key)
    }

    /// An agent speaks for the pods of its own node only.
    pub(super) fn take_capture(
        &mut self,
        client: &Client,
        component: Component,
        pods: &[PodState],
    ) -> Affected {
        let (Client::Node(node), Component::Agent) = (client, component) else {
            return Affected::new();
        };
        let mut affected = Affected::new();
        for state in pods {
            // On Kubernetes the uid is the object's own, and says which pod of the name is meant.
            let of_uid = names::pod_of_uid(&self.world.settings, &state.uid);
            let by_uid = of_uid.is_some();
            let of_name = || NsName::new(state.namespace.as_str(), state.name.as_str());
            let name = of_uid.unwrap_or_else(of_name);
            let pod = self.world.cache.pods.get(&name);
            let meant = |uid: &str| by_uid || uid == state.uid;
            if pod.is_some_and(|pod| pod.spec.node == *node && meant(&pod.meta.uid))
                && self.world.capture.said(&name, state.clone())
            {
                affected.insert(Target::Pod(name));
            }
        }
        affected
    }

    pub(super) fn waypoint_changed(
        &mut self,
        client: &Client,
        change: impl FnOnce(&mut World, &NsName),
    ) -> Affected {
        let Client::Waypoint(waypoint) = client else {
            return Affected::new();
        };
        let before = self.world.waypoints.is_connected(waypoint);
        change(&mut self.world, waypoint);
        let mut affected = affected::of_waypoint(&self.world, &self.facts, waypoint);
        if before != self.world.waypoints.is_connected(waypoint) {
            let routes = self.facts.attached.routes(waypoint).cloned();
            affected.extend(routes.map(Target::Route));
        }
        affected
    }

    pub(super) fn take_programmed(&mut self, waypoint: &NsName, scope: &Scope) -> Affected {
        let mut news = false;
        // Of one that the controller deployed a pod must be ready, too, which the Gateway's status says.
        let ready = self.world.waypoints.is_programmed(waypoint)
            || !waypoint::is_deployed(&self.world, waypoint);
        let uses = self.facts.uses.get(waypoint);
        for consumer in scope
            .consumers
            .iter()
            .filter(|c| uses.is_some_and(|uses| uses.contains(c)))
        {
            news |= self.world.waypoints.acknowledge(waypoint, consumer);
            if ready && self.world.waypoints.may_program(waypoint) {
                news |= self.world.waypoints.program(waypoint, consumer);
            }
        }
        if news {
            tracing::info!(%waypoint, consumers = scope.consumers.len(), "waypoint programmed");
            affected::of_waypoint(&self.world, &self.facts, waypoint)
        } else {
            Affected::new()
        }
    }

    /// What is remembered of objects that went away while no controller ran.
    pub(super) fn forget_the_gone(&mut self) {
        let remembered: Vec<Consumer> = self.world.waypoints.all_consumers();
        for consumer in remembered {
            let known = match &consumer {
                Consumer::Service(name) => self.world.cache.services.get(name).is_some(),
                Consumer::Entry(name) => self.world.cache.entries.get(name).is_some(),
                Consumer::Pod(name) => self.world.cache.pods.get(name).is_some(),
            };
            if !known {
                self.world.waypoints.keep_only(None, &consumer);
            }
        }
        let World {
            addresses, cache, ..
        } = &mut self.world;
        addresses.retain(|name| cache.entries.get(name).is_some());
    }

    /// Make a target's resources. Gives back waypoints that are programmed for nobody any more.
    pub(super) fn translate(&mut self, target: &Target) -> Vec<NsName> {
        let mut idle = Vec::new();
        let (made, findings) = match target {
            Target::Mesh => self.translate_mesh(),
            Target::Pod(name) => {
                idle = self.settle_waypoint(&Consumer::Pod(name.clone()));
                self.translate_pod(name)
            }
            Target::Endpoint(namespace, address) => {
                let resource = workload::of_endpoint(&self.world, namespace, *address);
                let uid = names::endpoint_uid(&self.world.settings, namespace, *address).into();
                let services = if resource.is_some() {
                    crate::translate::endpoints::services_at(&self.world, namespace, *address)
                        .into_keys()
                        .collect()
                } else {
                    BTreeSet::new()
                };
                let before = self.facts.set_endpoint_anew(&uid, &services);
                self.store.views.moved(before.union(&services));
                (typed(resource), Vec::new())
            }
            Target::Gateway(name) => self.translate_gateway(name),
            Target::Service(name) => {
                idle = self.settle_waypoint(&Consumer::Service(name.clone()));
                match self.world.cache.services.get(name) {
                    Some(object) => found(service::of(&self.world, object)),
                    None => Default::default(),
                }
            }
            Target::PeerAuthentication(name) => {
                match self.world.cache.peer_authentications.get(name) {
                    Some(object) => (
                        typed(peer_authentication::of(&self.world, object)),
                        Vec::new(),
                    ),
                    None => Default::default(),
                }
            }
            Target::AuthorizationPolicy(name) => {
                match self.world.cache.authorization_policies.get(name) {
                    Some(object) => found(authorization::of(&self.world, object)),
                    None => Default::default(),
                }
            }
            Target::ServiceEntry(name) => {
                idle = self.settle_waypoint(&Consumer::Entry(name.clone()));
                self.translate_entry(name)
            }
            Target::Route(key) => self.translate_route(key),
            Target::TrafficPolicy(name) => self.translate_traffic(name),
            Target::XBackendTrafficPolicy(name) => self.translate_backend_traffic(name),
            Target::BackendTlsPolicy(name) => self.translate_backend_tls(name),
            Target::FaultPolicy(name) => {
                let object = self.world.cache.fault_policies.get(name);
                let made = object.map(|object| fault::of(&self.world, object));
                let made = made.unwrap_or_default();
                self.facts.faults.0.set(name, made.targets.service_names);
                self.facts.faults.1.set(name, made.targets.route_keys);
                let resources = made.resources.into_iter();
                let shelved = resources.map(|made| (Shelf::Type(made.message.kind()), made));
                (shelved.collect(), made.findings)
            }
            Target::EgressPolicy(name) => match self.world.cache.egress_policies.get(name) {
                Some(object) => found(egress::of(&self.world, object)),
                None => Default::default(),
            },
        };
        self.store.set(target, made);
        let before = if findings.is_empty() {
            self.findings.remove(target)
        } else {
            self.findings.insert(target.clone(), findings)
        };
        if before.as_ref() != self.findings.get(target) {
            self.problems.stale();
        }
        idle
    }

    fn translate_mesh(&self) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let mut made = typed(Some(settings::of(&self.world)));
        made.extend(typed(Some(peer_authentication::strict(&self.world))));
        if !self.roots.is_empty() {
            let bundle = settings::trust_bundle(self.trust_domain(), self.roots.clone());
            made.extend(typed(Some(bundle)));
        }
        (made, settings::findings(&self.world))
    }

    fn translate_traffic(&mut self, name: &NsName) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let object = self.world.cache.traffic_policies.get(name);
        let made = object.map(|object| traffic::of(&self.world, object));
        let (resource, findings, targets) = made.unwrap_or_default();
        let name = traffic::resource_name(name).into();
        self.facts.traffic.0.set(&name, targets.service_names);
        self.facts.traffic.1.set(&name, targets.route_keys);
        (typed(resource), findings)
    }

    fn translate_backend_traffic(
        &mut self,
        name: &NsName,
    ) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let object = self.world.cache.backend_traffic_policies.get(name);
        let made = object.map(|object| backend_traffic::of(&self.world, object));
        let (resource, findings, services) = made.unwrap_or_default();
        let name = backend_traffic::resource_name(name).into();
        let services = services.into_iter().map(Consumer::Service).collect();
        self.facts.traffic.0.set(&name, services);
        (typed(resource), findings)
    }

    fn translate_gateway(&self, name: &NsName) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        if ingresses::is_gateway(&self.world, name) {
            let (made, findings) = ingresses::of(&self.world);
            let made = made.into_iter().flat_map(|made| typed(Some(made)));
            return (made.collect(), findings);
        }
        let Some(object) = self.world.cache.gateways.get(name) else {
            return Default::default();
        };
        if object.spec.listeners.is_none() {
            return found(gateway::of(&self.world, object));
        }
        let (made, findings) = ingress::of(&self.world, object);
        let made = made.into_iter().flat_map(|made| typed(Some(made)));
        (made.collect(), findings)
    }

    fn translate_entry(&mut self, name: &NsName) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let (made, findings) = match self.world.cache.entries.get(name).cloned() {
            Some(object) => {
                entry::settle(&mut self.world, &object);
                entry::of(&self.world, &object)
            }
            None => {
                let none = std::iter::empty();
                self.world.addresses.settle(name, none, &[]);
                Default::default()
            }
        };
        let names = made.iter().map(|resource| resource.name.clone());
        if self.facts.set_entry(name, names.collect()) {
            let consumer = Consumer::Entry(name.clone());
            self.store.views.moved_one(&consumer);
        }
        let made = made.into_iter().flat_map(|made| typed(Some(made)));
        (made.collect(), findings)
    }

    fn translate_backend_tls(&mut self, name: &NsName) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let object = self.world.cache.backend_tls.get(name);
        let made = object.map(|object| backend_tls::of(&self.world, object));
        let (resource, findings, services) = made.unwrap_or_default();
        self.facts.backend_tls.set(name, services);
        (typed(resource), findings)
    }

    fn translate_pod(&mut self, name: &NsName) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let before = self.facts.pods.remove(name).unwrap_or_default();
        let mut facts = PodFacts::default();
        let (mut made, mut findings) = (Vec::new(), Vec::new());
        if let Some(object) = self.world.cache.pods.get(name).cloned() {
            let enrolled = enrolment::is_enrolled(&self.world, &object);
            self.world.capture.settle(&object, enrolled);
            let record = workload::of_pod(&self.world, &object);
            facts = pod_facts(&self.world, &object, enrolled, &record);
            made.extend(typed(record.resource));
            if let Some(guard) = &record.guard {
                made.extend(typed(Some(guard.resource(&self.world))));
                made.push((Shelf::Waived, guard.waived()));
            }
            let (told, more) = pod::of(&self.world, &object);
            made.extend(told.map(|resource| (Shelf::Node(object.spec.node.clone()), resource)));
            findings = record.findings;
            findings.extend(more);
        } else {
            self.world.capture.forget(name);
        }
        self.store.views.pod(&before, &facts);
        match (&before.workload, &facts.workload) {
            (Some(uid), None) => self
                .facts
                .set_endpoint(uid, &before.services, &BTreeSet::new()),
            (_, Some(uid)) => self
                .facts
                .set_endpoint(uid, &before.services, &facts.services),
            (None, None) => {}
        }
        if self.world.cache.pods.get(name).is_some() {
            self.facts.pods.insert(name.clone(), facts);
        }
        (made, findings)
    }

    fn translate_route(&mut self, key: &Key) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let (world, kind) = (&self.world, key.kind);
        if kind == Kind::Ingress {
            return self.translate_ingress(key);
        }
        let made = if let Some(object) = world.cache.route(key) {
            route::of(world, kind, object)
        } else if let Some(object) = world.cache.stream_route(key) {
            stream_route::of(world, kind, object)
        } else {
            route::Translated::default()
        };
        let (parents, attached, backends) = (made.parents, made.attached, made.backends);
        self.facts.set_route(key, parents, attached, backends);
        (typed(made.resource), made.findings)
    }

    fn translate_ingress(&mut self, key: &Key) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
        let object = self.world.cache.ingresses.get(&key.name);
        let made = object.map(|object| ingresses::route(&self.world, object));
        let made = made.unwrap_or_default();
        let names = made.resources.iter().map(|made| made.name.clone());
        let parts = names.collect();
        self.facts.set_ingress(
            key,
            parts,
            made.attached,
            made.backends.into_iter().map(Consumer::Service).collect(),
        );
        let made_of = made.resources.into_iter();
        let shelved = made_of.flat_map(|resource| typed(Some(resource)));
        (shelved.collect(), made.findings)
    }

    /// Bring what is remembered of a consumer's waypoint in line with what it asks for. Gives back waypoints that are
    /// programmed for nobody any more.
    fn settle_waypoint(&mut self, consumer: &Consumer) -> Vec<NsName> {
        let world = &mut self.world;
        let meta = match consumer {
            Consumer::Service(name) => world
                .cache
                .services
                .get(name)
                .map(|o| (Kind::Service, &o.meta)),
            Consumer::Entry(name) => world
                .cache
                .entries
                .get(name)
                .map(|o| (Kind::ServiceEntry, &o.meta)),
            Consumer::Pod(name) => world.cache.pods.get(name).map(|o| (Kind::Pod, &o.meta)),
        };
        let wanted = meta.and_then(|(kind, meta)| waypoint::wanted(world, kind, meta));
        let wanted = wanted.map(|wanted| wanted.gateway);
        let usable = waypoint::usable_for(world, consumer);
        let idle = world.waypoints.keep_only(wanted.as_ref(), consumer);
        if self.facts.set_waypoint(consumer, wanted, usable) && consumer.kind() != Kind::Pod {
            // A gateway goes through it to the service.
            self.store.views.moved_one(consumer);
        }
        if let (Use::Through(gateway, _) | Use::Refused(gateway, _), _) =
            waypoint::of(world, consumer)
            && world.waypoints.is_mandatory(&gateway, consumer)
        {
            world.waypoints.program(&gateway, consumer);
        }
        idle
    }
}

use waypoint::Use;

fn typed(resource: Option<Resource>) -> Vec<(Shelf, Resource)> {
    let shelved = resource.map(|resource| (Shelf::Type(resource.message.kind()), resource));
    shelved.into_iter().collect()
}

fn found(
    (resource, findings): (Option<Resource>, Vec<Finding>),
) -> (Vec<(Shelf, Resource)>, Vec<Finding>) {
    (typed(resource), findings)
}

fn pod_facts(
    world: &World,
    object: &crate::model::Obj<crate::model::Pod>,
    enrolled: bool,
    record: &workload::Translated,
) -> PodFacts {
    let guard = |guard: &Guard| (guard.name().into(), guard.waypoints().clone());
    let mut facts = PodFacts {
        node: object.spec.node.clone(),
        guard: record.guard.as_ref().map(guard),
        identity: enrolled.then(|| {
            (
                object.meta.name.namespace.clone(),
                object.spec.service_account.as_str().into(),
            )
        }),
        ..PodFacts::default()
    };
    if let Some(Resource {
        name,
        message: crate::translate::Message::Workload(workload),
        ..
    }) = &record.resource
    {
        facts.workload = Some(name.clone());
        facts.policies = workload
            .authorization_policies
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let egress = workload.egress_policies.iter();
        facts.egress = egress.map(|name| name.as_str().into()).collect();
        facts.services = crate::translate::endpoints::services_of(world, object)
            .into_keys()
            .collect();
        facts.faults = fault::striking(world, object, &facts.services)
            .map(|policy| fault::resource_name(policy).into())
            .collect();
    }
    facts
}
