//! One pod: brings it to where it is wanted, step by step, and keeps it there.
//!
//! Joining: sockets (a ztunnel accepted the pod), then rules, then audit; leaving: the reverse. Every step
//! looks at what is there, so that it does not matter where an earlier agent was interrupted.
//!
//! Invariants: rules are first put in force after a ztunnel accepted the pod and after the record of them
//! is on disk; a failure never takes rules away; a pod counts as captured only while its rules were read
//! back as meant.

mod guard;
mod hold;
mod leave;
mod strict;

pub(crate) use hold::offer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use guard::Guard;
use strict::Ended;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::capture::CaptureError;
use crate::capture::probes::{KUBELET, Probes};
use crate::capture::rules::{Flavour, Mark};
use crate::capture::tools::Tools;
use crate::claims::Claims;
use crate::pod::Pod;
use crate::status::{Capture, Status, Statuses};
use crate::store::{Record, Store};
use crate::ztunnels::{Answer, Ztunnels};

/// Commands that run at once, for all pods.
const CONCURRENT: usize = 2;

/// What all workers share.
#[derive(Debug)]
pub struct Context {
    /// What makes the rules.
    pub tools: Tools,
    /// Those of the node itself.
    pub probes: Probes,
    /// What an agent remembers.
    pub store: Store,
    /// Who serves the pods.
    pub ztunnels: Ztunnels,
    /// What people are told.
    pub statuses: Statuses,
    /// Which namespace is whose.
    pub claims: Claims,
    /// Between two audits of a pod.
    pub audit_interval: Duration,
    /// Pods that are let go do not wait any more for the connections that ztunnel carries.
    leave_now: AtomicBool,
    permits: Semaphore,
}

/// What is wanted of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// What its record says: no source has named it since the agent started.
    AsRecorded,
    /// It is to be captured.
    Captured(Box<Pod>),
    /// It is there and not to be captured.
    Released,
    /// It is gone, and its rules are to go.
    Gone,
    /// It is gone, and its namespace is to go with its rules.
    Deleted,
}

/// When to look again.
enum Next {
    /// At the next audit.
    Audit,
    /// When the ztunnels say something new of the pod, at the latest at the next audit.
    Ztunnels,
    /// When something else is wanted.
    Nothing,
    /// When something else is wanted, which is not likely: the pod is gone and nothing is left of it.
    End,
}

/// Why a pod is not captured now.
enum Held {
    /// It waits for something.
    Pending(String),
    /// Something is wrong.
    Failed(CaptureError),
}

impl Context {
    /// Of these parts.
    #[must_use]
    pub fn new(tools: Tools, store: Store, statuses: Statuses, audit_interval: Duration) -> Self {
        let records = store.records();
        let recorded = records.iter().map(|record| &record.pod);
        Self {
            probes: Probes::new(&tools, KUBELET, recorded),
            tools,
            store,
            statuses,
            audit_interval,
            ztunnels: Ztunnels::default(),
            claims: Claims::default(),
            leave_now: AtomicBool::new(false),
            permits: Semaphore::new(CONCURRENT),
        }
    }

    /// From now on who lets a pod go ends the connections that ztunnel carries to and from it.
    pub fn leave_now(&self) {
        self.leave_now.store(true, Ordering::Relaxed);
    }

    fn is_leaving_now(&self) -> bool {
        self.leave_now.load(Ordering::Relaxed)
    }
}

/// Return when an audit is due because somebody changed something.
async fn disturbed(guard: Option<&mut Guard>, most: Duration) {
    match guard {
        Some(guard) => guard.disturbed(most).await,
        None => std::future::pending().await,
    }
}

/// The state of one pod's worker.
struct Worker {
    cx: Arc<Context>,
    uid: String,
    /// Namespace and name of the pod.
    name: (String, String),
    /// What is in the store.
    record: Option<Record>,
    /// The rules were put in force and nothing of them was taken away since.
    in_force: bool,
    /// Rule set that was read back last, see `Site::ensure`.
    verified: Option<u32>,
    repairs: u64,
    /// What marks the sockets of a culvert-ztunnel in this pod.
    mark: Mark,
    /// Tells of changes while the pod is captured.
    guard: Option<Guard>,
    ended: Ended,
}

/// Work for one pod until nobody tells what is wanted of it any more, or the agent ends. Rules stay when
/// the agent ends. `ended` is told when the pod is gone and nothing is left of it.
pub async fn run(
    cx: Arc<Context>,
    uid: String,
    record: Option<Record>,
    mut desired: watch::Receiver<Desired>,
    ended: mpsc::UnboundedSender<String>,
    drain: Drain,
) {
    let recorded = record.as_ref().map(|record| &record.spec);
    let name = match (&record, &*desired.borrow()) {
        (Some(Record { pod, .. }), _) => (pod.namespace.clone(), pod.name.clone()),
        (None, Desired::Captured(pod)) => (pod.namespace.clone(), pod.name.clone()),
        (None, _) => Default::default(),
    };
    let own = recorded.filter(|spec| spec.flavour == Flavour::Culvert);
    let mut worker = Worker {
        mark: own.map_or_else(Mark::random, |spec| spec.mark),
        in_force: record.is_some(),
        cx,
        uid,
        name,
        record,
        verified: None,
        repairs: 0,
        guard: None,
        ended: Ended::default(),
    };
    loop {
        let wanted = desired.borrow_and_update().clone();
        let next = worker.step(&wanted).await;
        if matches!(next, Next::End) {
            worker.cx.statuses.remove(&worker.uid);
            // The manager ends before its workers only when the agent does.
            let _draining = ended.send(worker.uid.clone());
        }
        tokio::select! {
            biased;
            () = drain.signaled() => return,
            changed = desired.changed() => if changed.is_err() { return },
            () = worker.wait(&next) => {}
        }
    }
}

impl Worker {
    async fn step(&mut self, desired: &Desired) -> Next {
        match desired {
            Desired::Captured(pod) => self.hold(pod).await,
            Desired::AsRecorded => match self.record.clone() {
                Some(record) => self.hold(&record.pod).await,
                None => Next::End,
            },
            Desired::Released => self.leave(Next::Nothing).await,
            Desired::Gone => self.leave(Next::End).await,
            Desired::Deleted => self.abandon().await,
        }
    }

    async fn wait(&mut self, next: &Next) {
        // Spread, so that a node's pods are not all audited at once.
        let interval = self.cx.audit_interval.mul_f64(rand::random_range(0.9..1.1));
        let audit = tokio::time::sleep(interval);
        match next {
            Next::Audit => {
                let most = self.cx.audit_interval;
                tokio::select! {
                    () = audit => {}
                    () = disturbed(self.guard.as_mut(), most) => {}
                }
            }
            Next::Ztunnels => tokio::select! {
                () = audit => {}
                () = self.ztunnels_change() => {}
            },
            Next::Nothing | Next::End => std::future::pending().await,
        }
    }

    /// Wait until the ztunnels say something else of this pod than now.
    async fn ztunnels_change(&self) {
        let ztunnels = &self.cx.ztunnels;
        let mut changes = ztunnels.subscribe();
        let before = self.view();
        while self.view() == before {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(ztunnels.settled()),
                    if Instant::now() < ztunnels.settled() => {}
            }
        }
    }

    fn view(&self) -> (Answer, bool) {
        let ztunnels = &self.cx.ztunnels;
        (ztunnels.answer(&self.uid), ztunnels.is_withdrawn(&self.uid))
    }

    /// Run something that enters namespaces, runs commands or writes files, on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Context) -> Result<T, CaptureError> + Send + 'static,
    ) -> Result<T, CaptureError> {
        let cx = Arc::clone(&self.cx);
        // The semaphore is never closed.
        let _permit = self.cx.permits.acquire().await;
        let ran = tokio::task::spawn_blocking(move || f(&cx)).await;
        ran.unwrap_or_else(|error| {
            Err(CaptureError::Kernel {
                what: "running a blocking step",
                source: error.into(),
            })
        })
    }

    /// Write the record to disk.
    async fn remember(&mut self, record: Record) -> Result<(), CaptureError> {
        let written = record.clone();
        let written = self.blocking(move |cx| cx.store.put(written).map_err(stored));
        written.await?;
        self.record = Some(record);
        Ok(())
    }

    /// Nothing of the pod is left in any namespace: forget its record, and what it claimed.
    async fn forget(&mut self) -> Result<(), CaptureError> {
        let uid = self.uid.clone();
        self.blocking(move |cx| {
            cx.probes.forget(&uid)?;
            cx.store.remove(&uid).map_err(stored)
        })
        .await?;
        self.record = None;
        self.in_force = false;
        self.verified = None;
        self.guard = None;
        self.cx.claims.release(&self.uid);
        Ok(())
    }

    fn tell(&self, capture: Capture, message: String) {
        let record = self.record.as_ref();
        let (namespace, name) = self.name.clone();
        let status = Status {
            namespace,
            name,
            netns: record.map_or(0, |record| record.id().inode),
            capture,
            message,
            generation: record.map_or(0, |record| record.spec.generation),
            connections_before: record.map_or(0, |record| record.before.len()),
            connections_closed: self.ended.count,
            repairs: self.repairs,
        };
        self.cx.statuses.set(&self.uid, &status);
    }
}

fn stored(source: std::io::Error) -> CaptureError {
    let what = "recording the pod";
    CaptureError::Kernel { what, source }
}
