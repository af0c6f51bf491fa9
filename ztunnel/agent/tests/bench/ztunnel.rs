//! A ztunnel that speaks ZDS and does nothing else, as it is told to; and an agent around it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use culvert_agent::capture::tools::Tools;
use culvert_agent::manager::Manager;
use culvert_agent::pod::Pod;
use culvert_agent::source::PodEvent;
use culvert_agent::status::{Capture, Status, Statuses};
use culvert_agent::store::{Lock, Store};
use culvert_agent::worker::Context;
use culvert_runtime::drain::{self, Trigger};
use culvert_runtime::ready::Ready;
use culvert_zds::{Client, Request, Server, Workload};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// Short, so that drift is repaired while a test looks on.
const AUDIT: Duration = Duration::from_millis(200);
/// Short, so that a hung ztunnel is given up while a test looks on.
const DEADLINE: Duration = Duration::from_millis(500);

/// An agent without a controller: the test tells it of pods.
pub(crate) struct Agent {
    pub(crate) cx: Arc<Context>,
    pub(crate) socket: PathBuf,
    pub(crate) ready: Ready,
    events: mpsc::UnboundedSender<PodEvent>,
    trigger: Trigger,
    tasks: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Start on what an earlier agent left in `run_dir`.
    pub(crate) fn start(run_dir: &Path, tools: &Tools) -> Result<Self> {
        Self::auditing(run_dir, tools, AUDIT)
    }

    /// [`Self::start`] with so much time between two audits.
    pub(crate) fn auditing(run_dir: &Path, tools: &Tools, audit: Duration) -> Result<Self> {
        let lock = Lock::take(run_dir)?.context("another agent")?;
        let store = Store::load(run_dir, lock)?;
        let statuses = Statuses::default();
        let cx = Arc::new(Context::new(tools.clone(), store, statuses, audit));
        let (trigger, drain) = drain::channel();
        let manager = Manager::resume(Arc::clone(&cx), drain.clone());
        let socket = run_dir.join("ztunnel.sock");
        let server = Server::bind(&socket)?;
        let serve = cx.ztunnels.clone().serve(server, DEADLINE, drain);
        let (events, told) = mpsc::unbounded_channel();
        let ready = Ready::new();
        let run = manager.run(told, ready.task("pods"));
        Ok(Self {
            tasks: vec![tokio::spawn(serve), tokio::spawn(run)],
            cx,
            socket,
            ready,
            events,
            trigger,
        })
    }

    pub(crate) fn tell(&self, pod: &Pod) -> Result<()> {
        Ok(self.events.send(PodEvent::Upsert(Box::new(pod.clone())))?)
    }

    pub(crate) fn remove(&self, uid: &str) -> Result<()> {
        Ok(self.events.send(PodEvent::Removed(uid.to_owned()))?)
    }

    pub(crate) fn synced(&self) -> Result<()> {
        Ok(self.events.send(PodEvent::Synced)?)
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) -> Result<()> {
        self.trigger.start();
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }

    /// Wait until a pod's status is as `wanted`.
    pub(crate) async fn until(
        &self,
        uid: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let mut last = None;
        let found = eventually(|| {
            last = self.cx.statuses.all().remove(uid);
            last.clone().filter(|status| wanted(status))
        });
        found.await.with_context(|| format!("{uid} is {last:?}"))
    }

    pub(crate) async fn captured(&self, uid: &str) -> Result<Status> {
        self.until(uid, |status| status.capture == Capture::Captured)
            .await
    }
}

/// Wait until `look` finds something.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = tokio::time::Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// What the ztunnel was asked for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Add(Workload),
    Keep(String),
    Del(String),
    Snapshot,
}

/// A connected ztunnel. Every request waits until the test answers it.
pub(crate) struct Ztunnel {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Requests, with the namespaces that came, not yet looked at.
    asked: Mutex<VecDeque<(Asked, Option<OwnedFd>)>>,
    answers: Mutex<VecDeque<Result<(), String>>>,
    changed: Notify,
}

impl Ztunnel {
    pub(crate) async fn connect(socket: &Path) -> Result<Self> {
        let client = Client::connect(socket).await?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(converse(client, Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// The next request, unanswered.
    pub(crate) async fn asked(&self) -> Result<Asked> {
        let next = eventually(|| self.shared.asked.lock().ok()?.pop_front());
        Ok(next.await.context("no request came")?.0)
    }

    pub(crate) fn answer(&self, answer: Result<(), &str>) {
        if let Ok(mut answers) = self.shared.answers.lock() {
            answers.push_back(answer.map_err(str::to_owned));
        }
        self.shared.changed.notify_one();
    }

    /// The next request, granted.
    pub(crate) async fn grant(&self) -> Result<Asked> {
        let asked = self.asked().await?;
        self.answer(Ok(()));
        Ok(asked)
    }

    /// The next request is an Add, and is granted.
    pub(crate) async fn grant_add(&self) -> Result<Workload> {
        match self.grant().await? {
            Asked::Add(workload) => Ok(workload),
            other => anyhow::bail!("{other:?} instead of an Add"),
        }
    }

    /// As kill -9 does.
    pub(crate) async fn die(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

async fn converse(mut client: Client, shared: Arc<Shared>) {
    while let Ok(Some(request)) = client.recv().await {
        let asked = match request {
            Request::Add(workload, netns) => (Asked::Add(workload), Some(netns)),
            Request::Keep(uid) => (Asked::Keep(uid), None),
            Request::Del(uid) => (Asked::Del(uid), None),
            Request::SnapshotSent => (Asked::Snapshot, None),
        };
        if let Ok(mut queue) = shared.asked.lock() {
            queue.push_back(asked);
        }
        let answer = loop {
            let next = shared
                .answers
                .lock()
                .ok()
                .and_then(|mut answers| answers.pop_front());
            match next {
                Some(answer) => break answer,
                None => shared.changed.notified().await,
            }
        };
        if client.ack(answer).await.is_err() {
            return;
        }
    }
}
