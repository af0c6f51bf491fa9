//! The controller on Kubernetes: all caches first, then the authority, then clients; whoever leads also writes.

use culvert_identity::TrustDomain;
use culvert_kube::{Access, connect};
use culvert_runtime::drain::Drain;
use culvert_runtime::ready::Ready;
use culvert_runtime::task;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{App, AppError, EVENTS, Served, check_mesh_config};
use crate::authority::{Follower, Rotation};
use crate::config::{Kubernetes, Serve};
use crate::engine::{Engine, Event};
use crate::leader::Candidate;
use crate::serve::{Authenticator, Reviewer};
use crate::source::Batch;
use crate::source::kube::{self as source, Book, Kube};
use crate::status::kube::{Captures, Hosts, Ledger, Statuses, Stored};
use crate::world::{Addresses, Capture, Ingresses, Owners, Proof, Waypoints, Wishes, World};
use crate::{admin, authority, deploy};

/// Where components connect, in our own namespace.
const SERVICE: (&str, u16) = ("culvert-controller", 15012);

impl App {
    /// Read the objects of a cluster, then serve until the drain. None when the drain came first.
    pub async fn start_on_kubernetes(
        config: &Serve,
        kubernetes: &Kubernetes,
        drain: &Drain,
    ) -> Result<Option<Self>, AppError> {
        let namespace = kubernetes.namespace.clone();
        let access = kubernetes
            .kubeconfig
            .clone()
            .map_or(Access::InCluster, Access::Kubeconfig);
        let client = connect(&access).await?;
        let ready = Ready::new();
        let syncing = ready.task("objects");
        let unreachable = source::health(client.clone(), drain.clone());
        admin::probes(config.stats, config.ready, &ready, unreachable, drain)
            .map_err(|(address, source)| AppError::Listen { address, source })?;
        let (mut source, book) = Kube::begin(&client);
        let Some(batch) = source.first(drain).await else {
            return Ok(None);
        };
        check_mesh_config(&batch)?;
        tracing::info!(objects = batch.changes.len(), "all kinds are listed");
        let ledger = Ledger::new(&client, &namespace);
        let hosts = Hosts::new(&client, &namespace);
        let ingresses = Ingresses::served_in(&namespace).with_owners(hosts.load().await?);
        let mut engine = engine(batch, ledger.load().await?, ingresses).await?;
        let trust_domain = TrustDomain::new(engine.trust_domain())?;
        let signing = authority::load(&client, &namespace, trust_domain.clone()).await?;
        let published = authority::published(&client, &namespace).await?;
        let (issuer, root) = watch::channel(signing.root.clone());
        let ttl = engine.snapshots().borrow().certificate_ttl;
        let now = crate::clock::now();
        let mut rotation = Rotation::new(signing, published, ttl, now);
        engine.set_roots(rotation.trusted(now).roots);
        let (events, inbox) = mpsc::channel(EVENTS);
        let writers = Writers {
            client: client.clone(),
            book,
            captures: Captures::default(),
            events: events.clone(),
            changes: engine.events(),
            ledger,
            wishes: engine.wishes(),
            hosts,
            owners: engine.hosts(),
            heard: deploy::Heard {
                snapshots: engine.snapshots(),
                seen: engine.seen(),
            },
        };
        let snapshots = engine.snapshots();
        let reviewer = Reviewer::new(client.clone(), namespace.clone());
        let served = Served {
            authenticator: Authenticator::Reviews(Box::new(reviewer)),
            root,
            captures: Some(writers.captures.clone()),
            catch_up: Some(source.catch_up(client.clone(), engine.seen(), drain.clone())),
            ips: kubernetes.pod_ips.clone(),
        };
        let queue = (events.clone(), inbox);
        let mut app = Self::serve(config, served, engine, queue, ready, drain)?;
        syncing.done();
        super::follow(source, &events, drain);
        let follower = Follower {
            client,
            namespace,
            trust_domain,
            rotation,
            issuer,
            acceptor: app.acceptor.clone(),
            events,
            snapshots,
        };
        task::spawn("authority", follower.run(drain.clone()));
        // It gives the lease back at the end.
        app.last.push(writers.start(kubernetes, drain));
        Ok(Some(app))
    }
}

/// What writes to the API server.
struct Writers {
    client: Client,
    book: Book,
    captures: Captures,
    events: mpsc::Sender<Event>,
    changes: watch::Receiver<u64>,
    ledger: Ledger,
    wishes: watch::Receiver<Wishes>,
    hosts: Hosts,
    owners: watch::Receiver<Owners>,
    heard: deploy::Heard,
}

impl Writers {
    /// Start all of it; gives back who stands for election.
    fn start(self, kubernetes: &Kubernetes, drain: &Drain) -> JoinHandle<()> {
        let Self {
            client,
            book,
            captures,
            events,
            changes,
            ledger,
            wishes,
            hosts,
            owners,
            heard,
        } = self;
        let identity = identity(kubernetes);
        let namespace = kubernetes.namespace.clone();
        let (candidate, leadership) = Candidate::new(client.clone(), &namespace, identity.clone());
        let writing = captures.clone();
        let writing = writing.run(
            client.clone(),
            book.clone(),
            identity.clone(),
            drain.clone(),
        );
        task::spawn("capture_status", writing);
        let following = ledger.clone().follow(events.clone(), drain.clone());
        task::spawn("waypoint_ledger_watch", following);
        let writing = ledger.run(wishes, leadership.clone(), drain.clone());
        task::spawn("waypoint_ledger", writing);
        let following = hosts.clone().follow(events.clone(), drain.clone());
        task::spawn("ingress_hosts_watch", following);
        let writing = hosts.run(owners, leadership.clone(), drain.clone());
        task::spawn("ingress_hosts", writing);
        let statuses = Statuses::new(client.clone(), book, captures, &identity);
        let statuses = statuses.run(events, changes, leadership.clone(), drain.clone());
        task::spawn("status", statuses);
        if let Some(image) = &kubernetes.waypoint_image {
            let settings = deploy::Settings {
                image: image.clone(),
                pull_policy: kubernetes.image_pull_policy.clone(),
                namespace,
                service: SERVICE.0.into(),
                port: SERVICE.1,
            };
            let deployer = deploy::Deployer::new(client, settings, heard);
            task::spawn("deploy", deployer.run(leadership, drain.clone()));
        }
        task::spawn("leader", candidate.run(drain.clone()))
    }
}

/// The name of this replica, which no other has: the next process in the same pod neither.
fn identity(kubernetes: &Kubernetes) -> String {
    let mut random = [0; 8];
    // Without randomness the process id tells most of them apart.
    let _ = boring::rand::rand_bytes(&mut random);
    let random = u64::from_be_bytes(random) ^ u64::from(std::process::id());
    format!("{}_{random:016x}", kubernetes.pod_name)
}

/// The engine, which goes by what the cluster has in writing: what only this replica was told would die with it.
async fn engine(batch: Batch, stored: Stored, ingresses: Ingresses) -> Result<Engine, AppError> {
    let world = World {
        capture: Capture::by(Proof::Condition),
        waypoints: Waypoints::of_ledger(stored),
        ingresses,
        addresses: Addresses::Written,
        ..World::default()
    };
    let made = tokio::task::spawn_blocking(move || Engine::new(world, batch)).await;
    made.map_err(|error| AppError::Engine(error.to_string()))
}
