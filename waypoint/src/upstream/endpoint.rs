//! One endpoint of a service, as one core sees it.
//!
//! Invariant: what is dialled, whom to expect there and which policies hold come from one snapshot. Load and idle
//! connections live on from snapshot to snapshot as long as address, identity, tunnel and TLS stay the same.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_identity::SpiffeId;
use culvert_policy::{DenyReason, PolicySet};
use culvert_xds::state::{AppProtocol, Service, Snapshot, Tunnel, Workload};

use super::balance::{Load, PeakEwma};
use super::hash;
use super::member::Sample;
use super::pool::Connections;
use super::through::Hop;
use super::watch::Watch;
use crate::destination::is_mesh_port;
use crate::routes::Origination;
use crate::telemetry::series::{DestinationLabels, SeriesCache};

/// An endpoint that may be picked.
#[derive(Debug)]
pub struct Endpoint {
    workload: Arc<Workload>,
    address: SocketAddr,
    /// It is an instance of the service's waypoint, and goes on to the service.
    hop: Option<Hop>,
    /// Identities that it may prove.
    expected: Vec<SpiffeId>,
    policies: Result<PolicySet, DenyReason>,
    app_protocol: AppProtocol,
    /// How TLS is begun with its application, if it is.
    tls: Option<Arc<Origination>>,
    /// Of the snapshot that all this comes from.
    version: u64,
    /// The number of its labels, as an endpoint of the service that it was found by.
    labels: u32,
    /// Of its uid.
    hash: u64,
    state: Rc<State>,
}

/// What outlives a snapshot.
#[derive(Debug, Default)]
pub(super) struct State {
    active: Cell<u32>,
    ewma: Cell<PeakEwma>,
    answered: Cell<Option<Instant>>,
    connections: Connections,
    /// What its whole set has in flight.
    in_flight: Rc<Cell<u32>>,
    /// Where its failures are counted, if a policy says so.
    watch: RefCell<Option<Watch>>,
}

/// One request in flight at an endpoint.
#[derive(Debug)]
pub struct InFlight {
    state: Rc<State>,
    start: Instant,
    /// The answer's end will tell how the endpoint did.
    open: Cell<bool>,
}

impl Endpoint {
    /// The endpoint at `port` of `workload`, one of a set that has `in_flight` in all; none if it has no address or the port is the mesh's own.
    pub(super) fn new(
        snapshot: &Snapshot,
        workload: &Arc<Workload>,
        address: Option<SocketAddr>,
        service: Option<(&Service, AppProtocol)>,
        (series, in_flight): (&SeriesCache, &Rc<Cell<u32>>),
    ) -> Option<Self> {
        let address = address.filter(|address| !is_mesh_port(address.port()))?;
        let mut expected = vec![workload.identity().clone()];
        expected.extend(
            service
                .iter()
                .flat_map(|(service, _)| service.identities.iter().cloned()),
        );
        Some(Self {
            workload: Arc::clone(workload),
            address,
            hop: None,
            expected,
            policies: snapshot
                .policies_for(workload)
                .map_err(|_| DenyReason::PolicyMissing),
            app_protocol: service.map(|(_, protocol)| protocol).unwrap_or_default(),
            tls: None,
            version: snapshot.version(),
            labels: series.destination(&labels(workload, service.map(|(service, _)| service))),
            hash: hash::of(workload.uid().as_bytes()),
            state: Rc::new(State {
                in_flight: Rc::clone(in_flight),
                ..State::default()
            }),
        })
    }

    /// An instance of the service's waypoint, which is itself whom to expect there.
    pub(super) fn through(
        snapshot: &Snapshot,
        (workload, hop): (&Arc<Workload>, Hop),
        service: (&Service, AppProtocol),
        shared: (&SeriesCache, &Rc<Cell<u32>>),
    ) -> Option<Self> {
        let address = Some(hop.address());
        let endpoint = Self::new(snapshot, workload, address, Some(service), shared)?;
        Some(Self {
            expected: vec![workload.identity().clone()],
            hop: Some(hop),
            ..endpoint
        })
    }

    /// The same where TLS is begun with the application.
    pub(super) fn secured(self, tls: Option<&Arc<Origination>>) -> Self {
        let tls = tls.cloned();
        Self { tls, ..self }
    }

    /// Takes over what `earlier` knows and holds, if it is the same endpoint.
    pub(super) fn inherit(&mut self, earlier: &Self) {
        let same = self.address == earlier.address
            && self.hop == earlier.hop
            && self.expected == earlier.expected
            && self.workload.tunnel() == earlier.workload.tunnel()
            && self.tls.as_ref().map(Arc::as_ptr) == earlier.tls.as_ref().map(Arc::as_ptr)
            && self.uid() == earlier.uid();
        if same {
            self.state = Rc::clone(&earlier.state);
        }
    }

    /// The workload's uid.
    pub fn uid(&self) -> &Arc<str> {
        self.workload.uid()
    }

    /// The workload.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// The name that leads to it, if it has no address that is known.
    pub fn name(&self) -> Option<&Arc<str>> {
        let named = self.workload.addresses().is_empty() && !self.tunnelled();
        Some(self.workload.hostname()).filter(|name| named && !name.is_empty())
    }

    /// What its application listens at; of one that has but a name, what clients address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to it, if that leads through the service's waypoint.
    pub(super) fn hop(&self) -> Option<&Hop> {
        self.hop.as_ref()
    }

    /// Whether it is reached by HBONE.
    pub fn tunnelled(&self) -> bool {
        self.workload.tunnel() == Tunnel::Hbone
    }

    /// Whom to expect there.
    pub fn expected(&self) -> &[SpiffeId] {
        &self.expected
    }

    /// What its port speaks, as far as the service says.
    pub fn app_protocol(&self) -> AppProtocol {
        self.app_protocol
    }

    /// How TLS is begun with its application; none: it is not.
    pub fn tls(&self) -> Option<&Arc<Origination>> {
        self.tls.as_ref()
    }

    /// The version of the snapshot that it comes from.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The number of its labels.
    pub fn labels(&self) -> u32 {
        self.labels
    }

    /// The policies of the workload; one that is missing denies.
    pub fn policies(&self) -> Result<&PolicySet, DenyReason> {
        self.policies.as_ref().map_err(|reason| *reason)
    }

    /// The hash of its uid.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Counts its failures there from now on, or nowhere.
    pub(super) fn watch(&self, watch: Option<Watch>) {
        self.state.watch.replace(watch);
    }

    /// Its idle connections.
    pub(super) fn connections(&self) -> &Connections {
        &self.state.connections
    }

    /// Counts a request in flight, until the result is dropped.
    pub fn enter(&self) -> InFlight {
        self.state
            .active
            .set(self.state.active.get().saturating_add(1));
        let all = &self.state.in_flight;
        all.set(all.get().saturating_add(1));
        InFlight {
            state: Rc::clone(&self.state),
            start: Instant::now(),
            open: Cell::new(false),
        }
    }
}

impl Load for Rc<Endpoint> {
    fn active(&self) -> u32 {
        self.state.active.get()
    }

    fn cost(&self) -> f64 {
        self.state.ewma.get().cost(self.active())
    }
}

impl InFlight {
    /// The response's headers have come.
    pub fn answered(&self) {
        let now = Instant::now();
        let before = self.state.answered.replace(Some(now));
        let since = before.map_or(Duration::MAX, |before| now - before);
        let mut ewma = self.state.ewma.get();
        ewma.observe(now - self.start, since);
        self.state.ewma.set(ewma);
    }

    /// Takes how the try ended, as far as the endpoint is to blame.
    pub fn observe(&self, sample: Sample) {
        if let Some(watch) = &*self.state.watch.borrow() {
            watch.observe(sample, self.start.elapsed());
        }
    }

    /// Leaves it to the answer's end, which [`InFlight::ended`] takes.
    pub fn leave_open(&self) {
        self.open.set(true);
    }

    /// Takes how the answer ended, if that was left open.
    pub fn ended(&self, sample: Sample) {
        if self.open.take() {
            self.observe(sample);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state
            .active
            .set(self.state.active.get().saturating_sub(1));
        let all = &self.state.in_flight;
        all.set(all.get().saturating_sub(1));
    }
}

fn labels(workload: &Workload, service: Option<&Service>) -> DestinationLabels {
    DestinationLabels {
        service: service
            .map(|service| service.hostname.to_string())
            .unwrap_or_default(),
        service_name: service
            .map(|service| service.name.to_string())
            .unwrap_or_default(),
        service_namespace: service
            .map(|service| service.namespace.to_string())
            .unwrap_or_default(),
        workload: workload.workload_name().to_string(),
        workload_namespace: workload.namespace().to_string(),
        principal: workload.identity().to_string(),
        canonical_service: workload.canonical_name().to_string(),
        revision: workload.canonical_revision().to_string(),
        cluster: workload.cluster_id().to_string(),
    }
}
