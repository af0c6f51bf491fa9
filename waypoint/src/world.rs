//! What all of a waypoint's cores share, and what each has for itself.
//!
//! Invariant: a core reads what is shared without waiting; everything that changes with requests is the core's own, but
//! for a few counters.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use culvert_hbone::TunnelConfig;
use culvert_identity::CertHandle;
use culvert_resolve::Resolver;
use culvert_runtime::drain::Drain;
use culvert_runtime::limits::Limits;
use culvert_runtime::task;
use culvert_xds::Store;

use crate::client::Client;
use crate::config::ServiceRef;
use crate::destination::{Destination, Own};
use crate::gateway::Handshakes;
use crate::permit::{Denied, InForce, Permit, Permits};
use crate::routes::{Origination, OwnGateway, PortConfig, Routes, Shared};
use crate::telemetry::{Record, SeriesCache};
use crate::upstream::connect::Dialer;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::Endpoints;

/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// What all cores share.
#[derive(Debug)]
pub struct World {
    /// Workloads, services and policies.
    pub store: Store,
    /// Routes.
    pub routes: Shared,
    /// Changes of this process's own Gateway.
    pub gateway: OwnGateway,
    /// This waypoint's own certificate.
    pub certificate: CertHandle,
    /// This waypoint's own name.
    pub own: Own,
    /// Deadlines and bounds.
    pub limits: Arc<Limits>,
    /// How tunnels are run, both ways.
    pub tunnels: TunnelConfig,
    /// Where endpoints outside of the cluster are that have but a name.
    pub resolver: Resolver,
}

/// What one core has.
#[derive(Debug)]
pub struct Core {
    /// Shared with the others.
    pub world: Arc<World>,
    /// Endpoints that were sent to.
    pub endpoints: Endpoints,
    /// The way to them.
    pub dialer: Dialer,
    /// What is being done on behalf of whom.
    pub permits: Rc<Permits>,
    /// Metric series.
    pub series: Rc<SeriesCache>,
    /// Handshakes of clients under way.
    pub handshakes: Handshakes,
    /// Copies of requests on their way.
    pub mirrors: Cell<u32>,
    /// Told when to take nothing new.
    pub drain: Drain,
}

/// One client's connection to one destination.
#[derive(Debug)]
pub struct Session {
    /// Where it lives.
    pub core: Rc<Core>,
    /// Who it is.
    pub client: Rc<Client>,
    /// What it addressed.
    pub destination: Rc<Destination>,
    /// The number of the destination's labels, while no endpoint was picked.
    pub labels: u32,
    /// What a request without a host is for.
    pub default_host: String,
    /// Told when to take nothing new from this client.
    pub drain: Drain,
}

impl Core {
    /// A core's own part of `world`. To be made on the core.
    pub fn start(world: Arc<World>, drain: Drain) -> Rc<Self> {
        let dialer = Dialer::new(&world);
        let routes = Shared::clone(&world.routes);
        let endpoints = Endpoints::new(world.gateway.clone(), world.own.clone(), routes);
        let core = Rc::new(Self {
            world,
            endpoints,
            dialer,
            permits: Rc::default(),
            series: Rc::default(),
            handshakes: Handshakes::default(),
            mirrors: Cell::new(0),
            drain,
        });
        let weak = Rc::downgrade(&core);
        task::spawn_local("core_review", async move {
            let Some(world) = weak.upgrade().map(|core| Arc::clone(&core.world)) else {
                return;
            };
            let (mut changed, mut gateway) = (world.store.changed(), world.gateway.clone());
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                let sweeping = tokio::select! {
                    told = changed.changed() => {
                        if told.is_err() {
                            return;
                        }
                        false
                    }
                    Ok(()) = gateway.changed() => false,
                    _ = sweep.tick() => true,
                };
                let Some(core) = weak.upgrade() else { return };
                core.follow(sweeping);
            }
        });
        core
    }

    /// Reviews what is in force after a change, or sweeps.
    fn follow(&self, sweeping: bool) {
        if sweeping {
            self.endpoints.close_idle();
            return;
        }
        let snapshot = self.world.store.snapshot();
        let routes = self.world.routes.load();
        self.permits.review(InForce {
            snapshot: &snapshot,
            routes: &routes,
        });
        self.endpoints.forget_gone(&snapshot);
    }
}

impl Session {
    /// A connection of `client` to `destination`, which `drain` tells when to take nothing new.
    pub fn new(core: &Rc<Core>, client: Client, destination: Destination, drain: Drain) -> Self {
        let labels = core.series.destination(&destination.labels());
        Self {
            core: Rc::clone(core),
            client: Rc::new(client),
            labels,
            default_host: destination.hostname(),
            destination: Rc::new(destination),
            drain,
        }
    }

    /// Asks for leave to send to `endpoint` for this client.
    pub fn grant(&self, endpoint: &Rc<Endpoint>) -> Result<Permit, Denied> {
        let world = &self.core.world;
        let rules = InForce {
            snapshot: &world.store.snapshot(),
            routes: &world.routes.load(),
        };
        let permits = &self.core.permits;
        permits.grant(rules, &self.client, &self.destination, endpoint)
    }

    /// How long a stream of bytes may rest.
    pub fn stream_idle(&self) -> Duration {
        let limits = &self.core.world.limits;
        match self.destination.arrival() {
            Some(_) => limits.client_stream_idle,
            None => limits.stream_idle,
        }
    }

    /// How TLS is begun at the destination itself; none: it is not.
    pub fn backend_tls<'a>(&self, routes: &'a Routes) -> Option<&'a Arc<Origination>> {
        let Destination::Service { service, port } = &*self.destination else {
            return None;
        };
        routes.backend_tls(&ServiceRef {
            service: Arc::clone(&service.key),
            port: *port,
        })
    }

    /// The account of a new request.
    pub fn record(&self) -> Record {
        let series = Rc::clone(&self.core.series);
        Record::new(
            series,
            Rc::clone(&self.client),
            Arc::clone(self.destination.key()),
            self.labels,
        )
    }

    /// What is configured for the destination in `routes`.
    pub fn config<'a>(&self, routes: &'a Routes) -> &'a PortConfig {
        static NOTHING: LazyLock<PortConfig> = LazyLock::new(PortConfig::default);
        match &*self.destination {
            Destination::Service { service, port } => {
                routes.port(&service.key, *port).unwrap_or(&NOTHING)
            }
            Destination::Workload { .. } | Destination::Gateway(_) => &NOTHING,
        }
    }
}
