//! The endpoints of each service port that a core has sent to, rebuilt when the snapshot changes.
//!
//! Invariant: only endpoints that are healthy (unless the service says that all count) and take traffic are listed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use culvert_xds::state::{HealthPolicy, Snapshot, Workload};
use rand::Rng;

use super::balance;
use super::endpoint::Endpoint;
use crate::config::ServiceRef;
use crate::config::traffic::Balancer;
use crate::telemetry::SeriesCache;

/// The endpoints of one service port.
#[derive(Debug, Default)]
pub struct EndpointSet {
    endpoints: Vec<Rc<Endpoint>>,
    turn: Cell<usize>,
    version: u64,
}

/// A workload's uid, and one of its addresses with a port.
type WorkloadAddress = (Arc<str>, SocketAddr);

/// A core's endpoint sets.
#[derive(Debug, Default)]
pub struct Endpoints {
    services: RefCell<HashMap<ServiceRef, Rc<EndpointSet>>>,
    workloads: RefCell<HashMap<WorkloadAddress, Rc<EndpointSet>>>,
}

impl EndpointSet {
    /// Picks an endpoint, leaving out those of `tried` unless there is no other.
    pub fn pick(
        &self,
        balancer: Balancer,
        tried: &[Rc<Endpoint>],
        rng: &mut impl Rng,
    ) -> Option<&Rc<Endpoint>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
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
        let index = balance::endpoint(balancer, &self.endpoints, &tried, turn, rng)?;
        self.endpoints.get(index)
    }

    fn inherit(endpoint: &mut Endpoint, earlier: Option<&Rc<Self>>) {
        let known = earlier.and_then(|set| {
            set.endpoints
                .iter()
                .find(|known| known.uid() == endpoint.uid())
        });
        if let Some(known) = known {
            endpoint.inherit(known);
        }
    }
}

impl Endpoints {
    /// The endpoints of a port of a service.
    pub fn of_service(
        &self,
        snapshot: &Snapshot,
        wanted: &ServiceRef,
        series: &SeriesCache,
    ) -> Rc<EndpointSet> {
        let earlier = self.services.borrow().get(wanted).cloned();
        if let Some(set) = earlier
            .as_ref()
            .filter(|set| set.version == snapshot.version())
        {
            return Rc::clone(set);
        }
        let endpoints = self.build(snapshot, wanted, earlier.as_ref(), series);
        let turn = Cell::new(earlier.map_or(0, |set| set.turn.get()));
        let set = Rc::new(EndpointSet {
            endpoints,
            turn,
            version: snapshot.version(),
        });
        self.services
            .borrow_mut()
            .insert(wanted.clone(), Rc::clone(&set));
        set
    }

    fn build(
        &self,
        snapshot: &Snapshot,
        wanted: &ServiceRef,
        earlier: Option<&Rc<EndpointSet>>,
        series: &SeriesCache,
    ) -> Vec<Rc<Endpoint>> {
        let Some(service) = snapshot.service(&wanted.service) else {
            return Vec::new();
        };
        let protocol = service
            .port(wanted.port)
            .map(|port| port.app_protocol)
            .unwrap_or_default();
        let all = service.load_balancing.health_policy == HealthPolicy::AllowAll;
        snapshot
            .endpoints(service, wanted.port)
            .filter(|found| (all || found.workload.healthy()) && found.workload.capacity() > 0)
            .filter_map(|found| {
                let ip = found.workload.addresses().first()?;
                let address = Some(SocketAddr::new(*ip, found.port));
                Endpoint::new(
                    snapshot,
                    found.workload,
                    address,
                    Some((&**service, protocol)),
                    series,
                )
            })
            .map(|mut endpoint| {
                EndpointSet::inherit(&mut endpoint, earlier);
                Rc::new(endpoint)
            })
            .collect()
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
        let endpoint = current
            .and_then(|current| Endpoint::new(snapshot, current, Some(address), None, series));
        let endpoint = endpoint.map(|mut endpoint| {
            EndpointSet::inherit(&mut endpoint, earlier.as_ref());
            Rc::new(endpoint)
        });
        let set = EndpointSet {
            endpoints: endpoint.into_iter().collect(),
            turn: Cell::new(0),
            version: snapshot.version(),
        };
        let set = Rc::new(set);
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

    /// Closes connections that have been idle for too long.
    pub fn close_idle(&self) {
        let sets: Vec<_> = self
            .services
            .borrow()
            .values()
            .chain(self.workloads.borrow().values())
            .cloned()
            .collect();
        for endpoint in sets.iter().flat_map(|set| &set.endpoints) {
            endpoint.connections().close_idle();
        }
    }
}
