//! Turns what the source tells into what is wanted of each pod, one worker a pod.

use std::collections::HashMap;
use std::sync::Arc;

use culvert_runtime::drain::Drain;
use culvert_runtime::ready::ReadyTask;
use culvert_runtime::task;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::capture::{CaptureError, Site};
use crate::source::PodEvent;
use crate::store::Record;
use crate::worker::{self, Context, Desired};

/// A pod's worker and what it is told.
#[derive(Debug)]
struct Handle {
    desired: watch::Sender<Desired>,
    task: JoinHandle<()>,
}

/// All workers.
#[derive(Debug)]
pub struct Manager {
    cx: Arc<Context>,
    workers: HashMap<String, Handle>,
    ended: (
        mpsc::UnboundedSender<String>,
        mpsc::UnboundedReceiver<String>,
    ),
    drain: Drain,
}

impl Manager {
    /// Take over what an earlier agent left: its pods are on offer before the first ztunnel can connect,
    /// so that none is missing in the snapshot, and their rules are audited at once.
    #[must_use]
    pub fn resume(cx: Arc<Context>, drain: Drain) -> Self {
        let mut manager = Self {
            cx,
            workers: HashMap::new(),
            ended: mpsc::unbounded_channel(),
            drain,
        };
        for record in manager.cx.store.records() {
            offer_again(&manager.cx, &record);
            let uid = record.pod.uid.clone();
            manager.start(uid, Some(record), Desired::AsRecorded);
        }
        manager
    }

    /// Follow the source until the drain starts, then wait for the workers, whose rules stay.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<PodEvent>, synced: ReadyTask) {
        let mut synced = Some(synced);
        let drain = self.drain.clone();
        loop {
            let event = tokio::select! {
                () = drain.signaled() => break,
                // Never `None`: the sender is in `self`.
                Some(uid) = self.ended.1.recv() => {
                    self.end(&uid);
                    continue;
                }
                event = events.recv() => event,
            };
            match event {
                Some(PodEvent::Upsert(pod)) if pod.enrolled => {
                    self.want(pod.uid.clone(), Desired::Captured(pod));
                }
                Some(PodEvent::Upsert(pod)) => self.want(pod.uid, Desired::Released),
                Some(PodEvent::Removed(uid)) => self.want(uid, Desired::Gone),
                Some(PodEvent::Deleted(uid)) => self.want(uid, Desired::Deleted),
                Some(PodEvent::Synced) => synced = None,
                None => break,
            }
        }
        drop(synced);
        for (_, handle) in self.workers.drain() {
            drop(handle.desired);
            if let Err(error) = handle.task.await {
                tracing::error!(%error, "a pod's worker failed");
            }
        }
    }

    fn want(&mut self, uid: String, desired: Desired) {
        match self.workers.get(&uid) {
            Some(handle) => {
                handle.desired.send_if_modified(|wanted| {
                    let changes = *wanted != desired;
                    *wanted = desired;
                    changes
                });
            }
            None if matches!(desired, Desired::Captured(_)) => self.start(uid, None, desired),
            // Not captured, and not to be.
            None => {}
        }
    }

    /// Let a worker go that has nothing left to do, unless something is wanted of it by now.
    fn end(&mut self, uid: &str) {
        let idle = |handle: &Handle| match *handle.desired.borrow() {
            Desired::Gone | Desired::Deleted | Desired::AsRecorded => true,
            Desired::Captured(_) | Desired::Released => false,
        };
        if self.workers.get(uid).is_some_and(idle) {
            self.workers.remove(uid);
        }
    }

    fn start(&mut self, uid: String, record: Option<Record>, desired: Desired) {
        let (desired, wanted) = watch::channel(desired);
        let cx = Arc::clone(&self.cx);
        let (ended, drain) = (self.ended.0.clone(), self.drain.clone());
        let worker = worker::run(cx, uid.clone(), record, wanted, ended, drain);
        let task = task::spawn("pod", worker);
        self.workers.insert(uid, Handle { desired, task });
    }
}

/// Offer a recorded pod whose namespace is still the one that holds its rules, or cannot be looked at just
/// now; for any other its worker finds out what became of it.
fn offer_again(cx: &Context, record: &Record) {
    let id = record.id();
    match Site::open(&record.pod.netns) {
        Ok(site) if site.id() == id => {}
        Err(CaptureError::Netns(_)) => {}
        Ok(_) | Err(_) => return,
    }
    if cx.claims.claim(id, &record.pod.uid).is_ok() {
        let offer = worker::offer(&record.pod, id, record.spec.mark);
        cx.ztunnels.offer(offer);
    }
}
