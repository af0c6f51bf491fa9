//! The endpoints of each service port that a core has sent to, rebuilt when the snapshot changes.
//!
//! Invariant: only endpoints that are healthy (unless the service says that all count) and take traffic are listed.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use culvert_xds::state::{GatewayRef, HealthPolicy, Service, Snapshot, Workload};
use rand::Rng;

use super::balance::{self, Choice, Keyed};
use super::endpoint::Endpoint;
use super::group::{Group, Resilience};
use super::place::Place;
use super::shares::Shares;
use super::through;
use super::watch::Watched;
use crate::config::ServiceRef;
use crate::config::traffic::Balancer;
use crate::destination::Own;
use crate::routes::{Origination, OwnGateway, Shared};
use crate::telemetry::SeriesCache;

/// The endpoints of one service port.
#[derive(Debug)]
pub struct EndpointSet {
    /// None for a workload's own.
    service: Option<ServiceRef>,
    /// How TLS is begun at the service.
    tls: Option<Arc<Origination>>,
    endpoints: Vec<Rc<Endpoint>>,
    turn: Cell<usize>,
    version: u64,
    /// What all of them have in flight on this core.
    in_flight: Rc<Cell<u32>>,
    /// The endpoints' hashes, once somebody needs them.
    hashes: OnceCell<Box<[u64]>>,
    /// What other cores know too, if a policy needs it.
    watched: RefCell<Option<Rc<Watched>>>,
    /// The same of the set before.
    group: Option<Arc<Group>>,
    /// Where this instance is among them, if it picks endpoints and not the instances of their waypoint.
    place: Option<Place>,
    /// Who is near, where the service says so and no policy says anything.
    near: Option<Rc<Shares>>,
}

/// Whom to pick.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// By what.
    pub balancer: &'a Balancer,
    /// Who is left out or has less than its share.
    pub resilience: Option<&'a Arc<Resilience>>,
    /// The hash of the request's key, if it has one.
    pub key: Option<u64>,
    /// The hash of the endpoint that the request's session is at, if it has one.
    pub session: Option<u64>,
    /// It is a copy, which goes by what is known of endpoints and changes nothing of it.
    pub copy: bool,
}

/// A workload's uid, and one of its addresses with a port.
type WorkloadAddress = (Arc<str>, SocketAddr);

/// A core's endpoint sets.
#[derive(Debug)]
pub struct Endpoints {
    /// A gateway goes through the waypoints of services, if it is not one itself.
    gateway: OwnGateway,
    own: Own,
    /// Where policies of TLS are.
    routes: Shared,
    services: RefCell<HashMap<ServiceRef, Rc<EndpointSet>>>,
    workloads: RefCell<HashMap<WorkloadAddress, Rc<EndpointSet>>>,
}

impl EndpointSet {
    /// Nobody.
    pub fn nobody() -> Rc<Self> {
        Self::new(None, 0, std::iter::empty(), None, &Rc::default(), None)
    }

    fn new(
        service: Option<(&ServiceRef, Option<&Arc<Origination>>)>,
        version: u64,
        endpoints: impl Iterator<Item = Endpoint>,
        place: Option<Place>,
        in_flight: &Rc<Cell<u32>>,
        earlier: Option<&Self>,
    ) -> Rc<Self> {
        let before = earlier.map_or(&[][..], |set| &set.endpoints);
        // Snapshots list endpoints in the same order: the next one is mostly the one after the last.
        let mut next = 0;
        let endpoints = endpoints.map(|mut endpoint| {
            let mut from_next = before
                .iter()
                .enumerate()
                .cycle()
                .skip(next)
                .take(before.len());
            let same =
                |known: &Endpoint| known.hash() == endpoint.hash() && known.uid() == endpoint.uid();
            if let Some((index, known)) = from_next.find(|(_, known)| same(known)) {
                next = index + 1;
                endpoint.inherit(known);
            }
            Rc::new(endpoint)
        });
        let endpoints: Vec<_> = endpoints.collect();
        Rc::new(Self {
            service: service.map(|(service, _)| service.clone()),
            tls: service.and_then(|(_, tls)| tls.cloned()),
            near: place.as_ref().and_then(|place| place.shares(&endpoints)),
            place,
            endpoints,
            turn: Cell::new(earlier.map_or(0, |set| set.turn.get())),
            version,
            in_flight: Rc::clone(in_flight),
            hashes: OnceCell::new(),
            watched: RefCell::default(),
            group: earlier.and_then(Self::group),
        })
    }

    /// What the set that comes after `earlier` counts in flight: what that still has goes on.
    fn carried(earlier: Option<&Self>) -> Rc<Cell<u32>> {
        earlier.map_or_else(Rc::default, |set| Rc::clone(&set.in_flight))
    }

    /// Picks an endpoint, leaving out those of `tried` unless there is no other.
    pub fn pick(
        &self,
        wanted: &Wanted<'_>,
        tried: &[Rc<Endpoint>],
        rng: &mut impl Rng,
    ) -> Option<&Rc<Endpoint>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let shares = match wanted.copy {
            false => self.shares(wanted.resilience),
            true => match &*self.watched.borrow() {
                Some(watched) => watched.shares(),
                None => self.near.clone(),
            },
        };
        let shares = shares.as_deref();
        let is_tried =
            |endpoint: &Rc<Endpoint>| tried.iter().any(|tried| tried.uid() == endpoint.uid());
        let tried: Vec<_> = match tried {
            [] => Vec::new(),
            _ => self
                .endpoints
                .iter()
                .enumerate()
                .filter(|(_, e)| is_tried(e))
                .map(|(index, _)| index)
                .collect(),
        };
        let session = wanted.session.and_then(|session| {
            let index = self.hashes().iter().position(|hash| *hash == session)?;
            let open = shares.is_none_or(|shares| shares.of(index) > 0.0);
            (open && !tried.contains(&index)).then_some(index)
        });
        let choice = Choice {
            balancer: wanted.balancer,
            tried: &tried,
            shares,
            turn,
        };
        let index = match (session, wanted.balancer, wanted.key) {
            (Some(index), ..) => Some(index),
            (None, Balancer::ConsistentHash(policy), Some(key)) => {
                let keyed = Keyed {
                    key,
                    endpoints: self.hashes(),
                    in_flight: self.in_flight.get(),
                };
                balance::keyed(policy, &keyed, &choice, &self.endpoints)
            }
            _ => balance::endpoint(&choice, &self.endpoints, rng),
        };
        self.endpoints.get(index?)
    }

    /// Whether an endpoint has this hash.
    pub fn has(&self, hash: u64) -> bool {
        self.hashes().contains(&hash)
    }

    /// Whether this is how TLS is begun.
    fn begins(&self, tls: Option<&Arc<Origination>>) -> bool {
        self.tls.as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr)
    }

    fn hashes(&self) -> &[u64] {
        let hashes = || self.endpoints.iter().map(|endpoint| endpoint.hash());
        self.hashes.get_or_init(|| hashes().collect())
    }

    /// Who takes less than the whole of its share or is near, if something says that there may be such endpoints.
    fn shares(&self, resilience: Option<&Arc<Resilience>>) -> Option<Rc<Shares>> {
        let Some(resilience) = resilience else {
            if self.watched.take().is_some() {
                self.endpoints
                    .iter()
                    .for_each(|endpoint| endpoint.watch(None));
            }
            return self.near.clone();
        };
        let known = self.watched.borrow().clone();
        let watched = match known.filter(|watched| watched.obeys(resilience)) {
            Some(watched) => watched,
            None => {
                let service = self.service.as_ref()?;
                let new = Watched::start(
                    resilience,
                    service,
                    self.version,
                    &self.endpoints,
                    self.place.as_ref(),
                );
                self.watched.replace(Some(Rc::clone(&new)));
                new
            }
        };
        watched.shares()
    }

    fn group(&self) -> Option<Arc<Group>> {
        let watched = self.watched.borrow();
        let group = watched.as_ref().map(|watched| watched.group());
        group.or(self.group.as_ref()).cloned()
    }

    /// Lets back whose time is over, also where nobody asks for endpoints.
    fn review(&self) {
        let watched = self.watched.borrow().clone();
        if let Some(watched) = watched {
            watched.review();
        }
    }
}

impl Endpoints {
    /// None known yet.
    pub fn new(gateway: OwnGateway, own: Own, routes: Shared) -> Self {
        Self {
            gateway,
            own,
            routes,
            services: RefCell::default(),
            workloads: RefCell::default(),
        }
    }

    /// The endpoints of a port of a service.
    pub fn of_service(
        &self,
        snapshot: &Snapshot,
        wanted: &ServiceRef,
        series: &SeriesCache,
    ) -> Rc<EndpointSet> {
        let earlier = self.services.borrow().get(wanted).cloned();
        let routes = self.routes.load();
        let tls = routes.backend_tls(wanted);
        if let Some(set) = earlier
            .as_ref()
            .filter(|set| set.version == snapshot.version() && set.begins(tls))
        {
            return Rc::clone(set);
        }
        let own = (&self.own, self.gateway.borrow().is_some());
        let set = build(snapshot, (wanted, tls), own, earlier.as_deref(), series);
        self.services
            .borrow_mut()
            .insert(wanted.clone(), Rc::clone(&set));
        set
    }

    /// A workload at an address of its own, as the only endpoint.
    pub fn of_workload(
        &self,
        snapshot: &Snapshot,
        workload: &Arc<Workload>,
        address: SocketAddr,
        series: &SeriesCache,
    ) -> Rc<EndpointSet> {
        let key = (Arc::clone(workload.uid()), address);
        let earlier = self.workloads.borrow().get(&key).cloned();
        if let Some(set) = earlier
            .as_ref()
            .filter(|set| set.version == snapshot.version())
        {
            return Rc::clone(set);
        }
        // The workload may have changed since the connection was resolved; gone, it takes nothing.
        let current = snapshot.workload(workload.uid());
        let (version, earlier) = (snapshot.version(), earlier.as_deref());
        let in_flight = EndpointSet::carried(earlier);
        let endpoint = current.and_then(|current| {
            Endpoint::new(snapshot, current, Some(address), None, (series, &in_flight))
        });
        let set = EndpointSet::new(
            None,
            version,
            endpoint.into_iter(),
            None,
            &in_flight,
            earlier,
        );
        self.workloads.borrow_mut().insert(key, Rc::clone(&set));
        set
    }

    /// Forgets sets of services and workloads that are gone.
    pub fn forget_gone(&self, snapshot: &Snapshot) {
        self.services
            .borrow_mut()
            .retain(|wanted, _| snapshot.service(&wanted.service).is_some());
        self.workloads
            .borrow_mut()
            .retain(|(uid, _), _| snapshot.workload(uid).is_some());
    }

    /// Closes connections that have been idle for too long, and lets endpoints back that nobody asked for.
    pub fn close_idle(&self) {
        let sets: Vec<_> = self
            .services
            .borrow()
            .values()
            .chain(self.workloads.borrow().values())
            .cloned()
            .collect();
        sets.iter().for_each(|set| set.review());
        for endpoint in sets.iter().flat_map(|set| &set.endpoints) {
            endpoint.connections().close_idle();
        }
    }
}

/// Where an endpoint is: at its address, which of one outside of the cluster is none of the cluster's; if it has but a name,
/// where clients take it to be.
fn place(snapshot: &Snapshot, service: &Service, workload: &Workload) -> Option<IpAddr> {
    match workload.addresses().first() {
        Some(ip) => (!workload.external() || snapshot.is_outside(*ip)).then_some(*ip),
        None if workload.hostname().is_empty() => None,
        None => service.vips.first().copied(),
    }
}

fn build(
    snapshot: &Snapshot,
    (wanted, tls): (&ServiceRef, Option<&Arc<Origination>>),
    (own, gateway): (&Own, bool),
    earlier: Option<&EndpointSet>,
    series: &SeriesCache,
) -> Rc<EndpointSet> {
    let (version, in_flight) = (snapshot.version(), EndpointSet::carried(earlier));
    let Some(service) = snapshot.service(&wanted.service) else {
        let none = std::iter::empty();
        return EndpointSet::new(
            Some((wanted, tls)),
            version,
            none,
            None,
            &in_flight,
            earlier,
        );
    };
    let protocol = service
        .port(wanted.port)
        .map(|port| port.app_protocol)
        .unwrap_or_default();
    let beyond = |waypoint: &&GatewayRef| gateway && !own.is(snapshot, waypoint);
    if let Some(waypoint) = service.waypoint.as_ref().filter(beyond) {
        let (service, shared) = ((&**service, protocol), (series, &in_flight));
        let ways = through::ways(snapshot, waypoint, service.0, wanted.port).into_iter();
        // The waypoint begins TLS with the application, if anybody does.
        let endpoints = ways.filter_map(|way| Endpoint::through(snapshot, way, service, shared));
        return EndpointSet::new(
            Some((wanted, tls)),
            version,
            endpoints,
            None,
            &in_flight,
            earlier,
        );
    }
    let all = service.load_balancing.health_policy == HealthPolicy::AllowAll;
    let endpoints = snapshot
        .endpoints(service, wanted.port)
        .filter(|found| (all || found.workload.healthy()) && found.workload.capacity() > 0)
        .filter_map(|found| {
            let ip = place(snapshot, service, found.workload)?;
            let address = Some(SocketAddr::new(ip, found.port));
            let service = Some((&**service, protocol));
            let shared = (series, &in_flight);
            let endpoint = Endpoint::new(snapshot, found.workload, address, service, shared)?;
            Some(endpoint.secured(tls))
        });
    let place = Some(Place::new(snapshot, own, service));
    EndpointSet::new(
        Some((wanted, tls)),
        version,
        endpoints,
        place,
        &in_flight,
        earlier,
    )
}
