//! The open connections of a pod: to limit them, to show them, to count their bytes while they last, and to end those
//! that policy no longer allows.
//!
//! Invariants: who is admitted is in the table before it is judged for the first time, so that a change of policy either
//! is seen by that judgement or finds the connection here; a connection that was judged against is told once, and
//! nothing of its copy goes on after that.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use culvert_identity::SpiffeId;
use culvert_policy::{DenyReason, Principal};
use culvert_runtime::copy::{Outcome, Progress};
use culvert_xds::state::Settings;
use futures_util::FutureExt as _;
use serde::Serialize;
use tokio::sync::oneshot;

use super::denial::Denial;
use crate::egress::Leave;
use crate::telemetry::{Direction, Facts, Record, Series};

/// How many connections the process may have, and has.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    used: AtomicUsize,
}

/// The open connections of one pod.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: usize,
    quota: Arc<Quota>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Each in memory of its own: a tree of them, or a table with room for more, holds twice as much as there is.
    open: HashMap<u64, Box<Entry>>,
    /// Somebody was admitted since the last sweep.
    fresh: bool,
}

#[derive(Debug)]
struct Entry {
    stop: Option<oneshot::Sender<Denial>>,
    subject: Option<Subject>,
    /// If it goes outside of the mesh.
    leave: Option<Box<Leave>>,
    /// Bytes that went to the server before the copy began.
    ahead: u64,
    progress: Arc<Progress>,
    series: Option<Arc<Series>>,
    client: Client,
    counted: (u64, u64),
    /// When bytes were last seen to have moved.
    moved_at: Instant,
    facts: Arc<Mutex<Facts>>,
    since: SystemTime,
}

/// Which of the two sides that bytes are copied between is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Near,
    Far,
}

impl Client {
    /// Bytes to the server and to the client, of those that went from the near to the far side and back.
    fn order(self, (near_to_far, far_to_near): (u64, u64)) -> (u64, u64) {
        match self {
            Self::Near => (near_to_far, far_to_near),
            Self::Far => (far_to_near, near_to_far),
        }
    }
}

/// What policy is asked about an admitted connection.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Who the peer proved to be; nobody in plain text.
    pub(crate) peer: Option<(SpiffeId, Principal)>,
    /// The client's address.
    pub(crate) source: IpAddr,
    /// What it reaches.
    pub(crate) destination: SocketAddr,
}

/// A connection as the admin server shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    direction: Direction,
    source: SocketAddr,
    destination: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    hbone: Option<SocketAddr>,
    in_process: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_identity: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Arc<str>>,
    established: bool,
    since: u64,
    bytes_to_server: u64,
    bytes_to_client: u64,
}

/// One connection, in the table for as long as this exists.
#[derive(Debug)]
pub(crate) struct Connection {
    slot: Slot,
    record: Record,
    progress: Arc<Progress>,
    stop: Option<oneshot::Receiver<Denial>>,
}

/// A place in the table, given back when dropped.
#[derive(Debug)]
struct Slot {
    connections: Arc<Connections>,
    id: u64,
}

/// Told when a connection must end.
#[derive(Debug)]
pub(crate) struct Stop(Option<oneshot::Receiver<Denial>>);

impl Quota {
    /// At most `limit` at once.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// How many there are.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Connections {
    /// None yet, at most `limit` at once, and all pods together at most what `quota` allows.
    pub(crate) fn new(limit: usize, quota: Arc<Quota>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            quota,
            table: Mutex::default(),
        })
    }

    /// Take in a connection that was just accepted. Refused, counted and logged, when there are too many.
    pub(crate) fn open(self: &Arc<Self>, facts: Facts) -> Result<Connection, Denial> {
        self.take_in(facts, Arc::default())
    }

    /// The same for the other end of a connection of this node, both being one copy.
    pub(crate) fn open_beside(
        self: &Arc<Self>,
        facts: Facts,
        outbound: &Connection,
    ) -> Result<Connection, Denial> {
        self.take_in(facts, outbound.progress())
    }

    fn take_in(
        self: &Arc<Self>,
        facts: Facts,
        progress: Arc<Progress>,
    ) -> Result<Connection, Denial> {
        let record = Record::new(facts);
        let (stop, stopped) = oneshot::channel();
        let entry = Entry {
            stop: Some(stop),
            subject: None,
            leave: None,
            ahead: 0,
            progress: progress.clone(),
            series: None,
            client: Client::Near,
            counted: (0, 0),
            moved_at: Instant::now(),
            facts: record.shared(),
            since: SystemTime::now(),
        };
        let Some(slot) = self.take_slot(entry) else {
            let denial = Denial::from(DenyReason::Overload);
            record.refused(&denial);
            return Err(denial);
        };
        Ok(Connection {
            slot,
            record,
            progress,
            stop: Some(stopped),
        })
    }

    fn take_slot(self: &Arc<Self>, entry: Entry) -> Option<Slot> {
        let mut table = self.lock();
        if table.open.len() >= self.limit || self.quota.used() >= self.quota.limit {
            return None;
        }
        self.quota.used.fetch_add(1, Ordering::Relaxed);
        table.next += 1;
        let id = table.next;
        table.open.insert(id, Box::new(entry));
        Some(Slot {
            connections: self.clone(),
            id,
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// What they are, in the order in which they came.
    pub(crate) fn views(&self) -> Vec<View> {
        let table = self.lock();
        let mut open: Vec<_> = table.open.iter().collect();
        open.sort_unstable_by_key(|(id, _)| **id);
        open.into_iter().map(|(_, entry)| entry.view()).collect()
    }

    /// Put the bytes that moved since the last time into the metrics, and end connections where none moved for `idle`.
    ///
    /// For all of them at once, so that none needs a timer of its own.
    pub(crate) fn look_after(&self, idle: Duration) {
        let now = Instant::now();
        for entry in self.lock().open.values_mut() {
            let moved = entry.moved();
            let Some(series) = &entry.series else {
                continue;
            };
            if moved != entry.counted {
                series.bytes(moved.0 - entry.counted.0, moved.1 - entry.counted.1);
                (entry.counted, entry.moved_at) = (moved, now);
            } else if now.saturating_duration_since(entry.moved_at) >= idle {
                entry.end(DenyReason::IdleTimeout.into());
            }
        }
    }

    /// Whether somebody was admitted since the last [`Connections::sweep`].
    pub(crate) fn has_fresh(&self) -> bool {
        self.lock().fresh
    }

    /// Judge every admitted connection again, and end those that `judge` denies.
    pub(crate) fn sweep(&self, judge: impl Fn(&Subject) -> Result<(), Denial>) -> usize {
        let mut table = self.lock();
        table.fresh = false;
        let mut ended = 0;
        for entry in table.open.values_mut() {
            let Some(Err(denial)) = entry.subject.as_ref().map(&judge) else {
                continue;
            };
            ended += usize::from(entry.end(denial));
        }
        ended
    }

    /// The same for those that go outside of the mesh.
    pub(crate) fn sweep_leaving(&self, judge: impl Fn(&Leave) -> Result<(), Denial>) -> usize {
        let mut ended = 0;
        for entry in self.lock().open.values_mut() {
            if let Some(Err(denial)) = entry.leave.as_deref().map(&judge) {
                ended += usize::from(entry.end(denial));
            }
        }
        ended
    }

    /// End those whose bytes stay within the node where `settings` do not allow it.
    pub(crate) fn send_out(&self, settings: &Settings) {
        for entry in self.lock().open.values_mut() {
            if !entry.facts().may_stay(settings) {
                entry.end(DenyReason::PathForbidden.into());
            }
        }
    }

    /// End every connection.
    pub(crate) fn end_all(&self, reason: DenyReason) {
        for entry in self.lock().open.values_mut() {
            entry.end(reason.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// What is known of it, to be completed.
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.record.facts()
    }

    /// Put it under the eyes of [`Connections::sweep`]. To be called before it is judged for the first time.
    pub(crate) fn admit(&self, subject: Subject) {
        let mut table = self.slot.connections.lock();
        table.fresh = true;
        if let Some(entry) = table.open.get_mut(&self.slot.id) {
            entry.subject = Some(subject);
        }
    }

    /// The same for one that goes outside of the mesh, and [`Connections::sweep_leaving`].
    pub(crate) fn leaves(&self, leave: Leave) {
        let mut table = self.slot.connections.lock();
        table.fresh = true;
        if let Some(entry) = table.open.get_mut(&self.slot.id) {
            entry.leave = Some(Box::new(leave));
        }
    }

    /// So many bytes went to the server before its copy begins.
    pub(crate) fn went_ahead(&self, bytes: usize) {
        let ahead = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.slot.with(|entry| entry.ahead = ahead);
    }

    /// What tells that it must end. There is one; who asks again is never told.
    pub(crate) fn take_stop(&mut self) -> Stop {
        Stop(self.stop.take())
    }

    /// How far its copy is.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Both sides are connected, and `client` is the one that asked for it.
    pub(crate) fn established(&mut self, client: Client) {
        let series = self.record.established();
        self.slot.with(|entry| {
            entry.series = Some(series);
            entry.client = client;
        });
    }

    /// It came to nothing.
    pub(crate) fn refused(self, denial: &Denial) {
        drop(self.slot);
        self.record.refused(denial);
    }

    /// It has ended. The near side is the first of the two that were copied between.
    pub(crate) fn closed(self, outcome: &Outcome) {
        let known = self
            .slot
            .with(|entry| (entry.client, entry.counted, entry.ahead));
        let (client, counted, ahead) = known.unwrap_or((Client::Near, (0, 0), 0));
        drop(self.slot);
        let (to_server, to_client) = client.order((outcome.a_to_b, outcome.b_to_a));
        self.record.closed(
            (to_server + ahead, to_client),
            counted,
            outcome.error.as_ref(),
        );
    }
}

impl Slot {
    fn with<T>(&self, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.connections
            .lock()
            .open
            .get_mut(&self.id)
            .map(|entry| f(entry))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
        self.connections.quota.used.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stop {
    /// Ends, with the denial, when the connection must end.
    pub(crate) async fn stopped(&mut self) -> Denial {
        self.await
    }

    /// As [`Self::stopped`], as the error that a copy ends with.
    // No async function: that would hold four times the room, for every connection.
    pub(crate) fn error(self) -> impl Future<Output = io::Error> + Unpin {
        self.map(io::Error::other)
    }
}

impl Future for Stop {
    type Output = Denial;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Denial> {
        let told = self.0.as_mut().map(|stop| Pin::new(stop).poll(cx));
        match told {
            Some(Poll::Ready(Ok(denial))) => Poll::Ready(denial),
            Some(Poll::Ready(Err(_nobody))) => {
                self.0 = None;
                Poll::Pending
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl Entry {
    /// Tell its task to end it; whether it was not told before.
    fn end(&mut self, denial: Denial) -> bool {
        let stop = self.stop.take();
        // Its task may have ended in this moment.
        stop.map(|stop| stop.send(denial)).is_some()
    }

    fn moved(&self) -> (u64, u64) {
        let (to_server, to_client) = self.client.order(self.progress.get());
        (to_server + self.ahead, to_client)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> View {
        let facts = self.facts();
        let (bytes_to_server, bytes_to_client) = self.moved();
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        View {
            direction: facts.direction,
            source: facts.source_addr,
            destination: facts.destination_addr,
            hbone: facts.hbone_addr,
            in_process: facts.within,
            source_identity: facts.source.identity.as_ref().map(SpiffeId::to_string),
            destination_identity: facts.destination.identity.as_ref().map(SpiffeId::to_string),
            service: facts
                .service
                .as_ref()
                .map(|service| service.hostname.to_string())
                .unwrap_or_default(),
            fault: facts.fault.clone(),
            established: self.series.is_some(),
            since: since.map_or(0, |since| since.as_secs()),
            bytes_to_server,
            bytes_to_client,
        }
    }
}

#[cfg(test)]
mod tests;
