//! Keeps what is served in step with the world, one event after another.
//!
//! An event changes the world; `affected` says which resources may differ now; those are made anew, and what really
//! differs goes into the next [`Snapshot`]. Invariant: what is served is what a translation of the whole world would
//! give, however it came about.

mod affected;
mod attached;
mod delta;
mod event;
mod facts;
mod problems;
mod scope;
mod snapshot;
mod store;
mod target;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use delta::{Delta, Deltas};
pub use event::{Client, Component, Event};
pub use problems::{Problem, Problems};
pub use scope::{NodeView, Scope};
pub use snapshot::{Resources, Served, Snapshot};

use crate::metrics;
use crate::model::{Key, Kind, NsName, Object};
use crate::source::{Batch, Change, Origin, Seen};
use crate::status::{Components, Document, Journal, Memory};
use crate::translate::fault::Window;
use crate::translate::{
    Finding, authorization, backend_traffic, egress, enrolment, entry, fault, gateway, ingress,
    ingresses, names,
};
use crate::translate::{Resource, guard::Guard, waypoint, workload};
use crate::translate::{backend_tls, stream_route, traffic};
use crate::translate::{peer_authentication, pod, route, service, settings};
use crate::world::{Consumer, Owners, Wishes, World};
use affected::Affected;
use facts::Facts;
use store::Store;
use target::Target;

/// How long changes are gathered after some were published.
const GATHER: Duration = Duration::from_millis(50);
/// How long nobody looks at the clock at most, while something is to begin or end.
const LOOK: Duration = Duration::from_secs(3600);
/// So many are published although more are waiting.
const MOST: usize = 1000;

/// The world and what is served of it.
#[derive(Debug)]
pub struct Engine {
    world: World,
    origins: BTreeMap<Key, Origin>,
    findings: BTreeMap<Target, Vec<Finding>>,
    facts: Facts,
    store: Store,
    problems: Problems,
    components: Components,
    roots: Vec<String>,
    journal: Option<Journal>,
    wishes: watch::Sender<Wishes>,
    /// Which namespace has which host of Ingresses.
    hosts: watch::Sender<Owners>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// How far the source was read, and how far of that is published.
    seen: (Seen, watch::Sender<Seen>),
    /// Grows with each event, for whoever shows the status.
    events: watch::Sender<u64>,
    /// When the next policy begins or ends.
    next_turn: Option<Timestamp>,
}

impl Engine {
    /// Begin with what is remembered, the mesh's roots and the source's first batch.
    pub fn new(mut world: World, batch: Batch) -> Self {
        let mut origins = BTreeMap::new();
        for change in batch.changes {
            if let Change::Put(object, origin) = change {
                origins.insert(object.key(), origin);
                world.put(&object);
            }
        }
        world.settings.fix_names();
        let mut problems = Problems::default();
        problems.rejected(batch.rejections);
        let hosts = watch::Sender::new(world.ingresses.owners().clone());
        let mut engine = Self {
            world,
            origins,
            findings: BTreeMap::new(),
            facts: Facts::default(),
            store: Store::default(),
            problems,
            components: Components::default(),
            roots: Vec::new(),
            journal: None,
            wishes: watch::Sender::new(Wishes::default()),
            hosts,
            snapshots: watch::Sender::new(Arc::default()),
            seen: (batch.seen, watch::Sender::default()),
            events: watch::Sender::new(0),
            next_turn: None,
        };
        // All is made anew.
        drop(engine.world.take_moved());
        engine.forget_the_gone();
        let everything = affected::everything(&engine.world);
        engine.refresh(everything);
        engine
    }

    /// The first part of every identity. Does not change any more.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.world.settings.trust_domain()
    }

    /// The certificates that everybody trusts.
    pub fn set_roots(&mut self, roots: Vec<String>) {
        self.roots = roots;
        self.refresh(Affected::from([Target::Mesh]));
    }

    /// Where what the next start must know is written before it is served. Without one nothing is remembered here.
    pub fn set_journal(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// What the cluster's ledger of waypoints is to have.
    #[must_use]
    pub fn wishes(&self) -> watch::Receiver<Wishes> {
        self.wishes.subscribe()
    }

    /// Which namespace has which host of Ingresses, to be remembered.
    #[must_use]
    pub fn hosts(&self) -> watch::Receiver<Owners> {
        self.hosts.subscribe()
    }

    /// What is served.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// How far the source was read for what is served: never farther than what is published.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.1.subscribe()
    }

    /// Tells of every event but questions.
    #[must_use]
    pub fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// Take events until all senders are gone. A change that nothing came before is published at once, those that follow
    /// it closely are published together.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut dirty = Affected::new();
        let mut next = Instant::now();
        loop {
            let due = self.due();
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {
                    self.refresh(Affected::new());
                    self.events.send_modify(|events| *events += 1);
                    continue;
                }
                () = tokio::time::sleep_until(next), if !dirty.is_empty() => {
                    self.refresh(std::mem::take(&mut dirty));
                    next = Instant::now() + GATHER;
                    continue;
                }
            };
            let Some(event) = event else { return };
            dirty.extend(self.take(event));
            if dirty.is_empty() {
                self.publish_seen();
            }
            // A flood of events does not keep what changed from being published.
            if !dirty.is_empty()
                && (events.is_empty() || dirty.len() > MOST)
                && Instant::now() >= next
            {
                self.refresh(std::mem::take(&mut dirty));
                next = Instant::now() + GATHER;
            }
        }
    }

    /// How long until a policy begins or ends.
    fn due(&self) -> Option<Duration> {
        let wait = self.next_turn?.duration_since(crate::clock::now());
        // Looked at again at least hourly: clocks are set.
        Some(Duration::try_from(wait).unwrap_or_default().min(LOOK))
    }

    /// Let the time go on; what may be different now.
    fn turn(&mut self) -> Affected {
        let (before, now) = (self.world.now, crate::clock::now());
        self.world.now = now;
        let policies = self.world.cache.fault_policies.iter();
        let turned = policies.filter(|policy| {
            let next = Window::of(policy).next(before);
            next.is_some_and(|next| next <= now)
        });
        turned
            .map(|policy| Target::FaultPolicy(policy.meta.name.clone()))
            .collect()
    }

    /// Change the world; what may be different now.
    pub(crate) fn take(&mut self, event: Event) -> Affected {
        if !matches!(
            event,
            Event::Status(_) | Event::Verdicts(_) | Event::Dump(_)
        ) {
            self.events.send_modify(|events| *events += 1);
        }
        match event {
            Event::Batch(batch) => self.take_batch(batch),
            Event::Connected(client, component) => {
                self.components.connected(&client, component);
                self.waypoint_changed(&client, |world, waypoint| world.waypoints.connect(waypoint))
            }
            Event::Disconnected(client, component) => {
                self.components.disconnected(&client, component);
                self.waypoint_changed(&client, |world, waypoint| {
                    world.waypoints.disconnect(waypoint)
                })
            }
            Event::ReportOpened(client, component) => {
                self.components.connected(&client, component);
                Affected::new()
            }
            Event::ReportClosed(client, component) => {
                self.components.disconnected(&client, component);
                Affected::new()
            }
            Event::Report(client, component, report) => {
                let affected = self.take_capture(&client, component, &report.pods);
                self.components.reported(&client, component, *report);
                affected
            }
            Event::Answered {
                client,
                component,
                kind,
                error,
            } => {
                self.components.answered(&client, component, kind, error);
                Affected::new()
            }
            Event::Stored(stored) => {
                let moved = self.world.waypoints.store(stored);
                let of = |name| affected::of_waypoint(&self.world, &self.facts, name);
                moved.iter().flat_map(of).collect()
            }
            Event::Hosts(owners) => {
                let told = self.world.ingresses.store(owners);
                let asking = told.iter().map(|host| affected::asking(&self.world, host));
                let mut affected: Affected = asking.flatten().collect();
                if !affected.is_empty() {
                    affected.insert(Target::Gateway(self.world.ingresses.gateway().clone()));
                }
                affected
            }
            Event::Roots(roots) => {
                self.roots = roots;
                Affected::from([Target::Mesh])
            }
            Event::Programmed(waypoint, scope) => self.take_programmed(&waypoint, &scope),
            Event::Status(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.status());
                Affected::new()
            }
            Event::Verdicts(reply) => {
                let verdicts = crate::status::verdicts(&self.view());
                let _ = reply.send(verdicts.at(self.seen.1.borrow().clone()));
                Affected::new()
            }
            Event::Dump(reply) => {
                let objects = Kind::ALL
                    .into_iter()
                    .flat_map(|kind| self.world.cache.objects(kind));
                let _ = reply.send(objects.collect());
                Affected::new()
            }
        }
    }

    /// Make the resources of these targets anew and publish what differs.
    pub(crate) fn refresh(&mut self, dirty: Affected) {
        let mut queue = dirty;
        queue.extend(self.turn());
        let mut done = BTreeSet::new();
        while let Some(target) = queue.pop_first() {
            // That a waypoint serves nobody any more counts for all who ask for it, those before this one too.
            for waypoint in self.translate(&target) {
                queue.extend(affected::of_waypoint(&self.world, &self.facts, &waypoint));
            }
            done.insert(target);
        }
        if done.contains(&Target::Gateway(self.world.ingresses.gateway().clone())) {
            self.settle_hosts();
        }
        let policies = self.world.cache.fault_policies.iter();
        let next = policies.filter_map(|policy| Window::of(policy).next(self.world.now));
        self.next_turn = next.min();
        self.store.update_views(&self.world, &mut self.facts, &done);
        if let Some(journal) = &mut self.journal {
            journal.keep(Memory::of(&self.world));
        }
        self.wish();
        let snapshot = self.store.snapshot(&self.world.settings);
        self.snapshots.send_replace(Arc::new(snapshot));
        self.publish_seen();
        if self.problems.take_stale() {
            self.problems.found(&self.findings, &self.origins);
            self.problems.log_news();
        }
        metrics::observe(&self.world.cache, self.problems.len());
    }

    /// Remember who has which host: what was just served goes by that already.
    fn settle_hosts(&mut self) {
        let owners = ingresses::claims::owners(&self.world);
        if !self.world.ingresses.settle(owners).is_empty() {
            let owners = self.world.ingresses.owners().clone();
            self.hosts.send_replace(owners);
        }
    }

    /// Say how far the source was read, when all that it told is published.
    fn publish_seen(&self) {
        let (seen, published) = &self.seen;
        published.send_if_modified(|published| {
            let differs = published != seen;
            if differs {
                published.clone_from(seen);
            }
            differs
        });
    }

    /// Say what the cluster's ledger is to have.
    fn wish(&self) {
        let (gateways, wanted) = (&self.world.cache.gateways, &self.facts.wanted);
        let wishes = self.world.waypoints.wishes(
            |name| Some(gateways.get(name)?.spec.waypoint.as_ref()?.purpose),
            |name| wanted.contains_key(name),
        );
        let wishes = wishes.unwrap_or_default();
        self.wishes.send_if_modified(|before| {
            let differs = *before != wishes;
            *before = wishes;
            differs
        });
    }

    /// The state of everything, for people.
    fn status(&self) -> Document {
        crate::status::document(&self.view())
    }

    /// What the state of everything is told from.
    fn view(&self) -> crate::status::View<'_> {
        crate::status::View {
            world: &self.world,
            components: &self.components,
            findings: self.findings.values().flatten().collect(),
            origins: &self.origins,
            problems: &self.problems,
            wanted: &self.facts.wanted,
            gateways: &self.store.views.gateways,
            ancestors: self.store.views.ancestors(&self.world),
        }
    }
}

mod step;

#[cfg(test)]
mod deployed;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod gateways;
#[cfg(test)]
mod origination;
#[cfg(test)]
pub(crate) mod property;
#[cfg(test)]
pub(crate) mod tests;
