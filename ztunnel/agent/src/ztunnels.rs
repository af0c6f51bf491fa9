//! The connected ztunnels, and what each is to know: the pods on offer.
//!
//! Level-triggered: a task for each ztunnel compares what is on offer with what its ztunnel holds and
//! sends the difference. Invariant: no ztunnel waits for another; one that does not answer is dropped, and
//! what it held counts no more.

mod peer;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use culvert_runtime::netns::NetnsId;
use culvert_runtime::task;
use culvert_zds::{Server, Workload};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::capture::rules::Flavour;
use crate::metrics;
use crate::place::Place;
use state::State;

/// How long after the agent's start a ztunnel that held pods before has time to come back, before pods
/// count as withdrawn from it.
const RETURN: Duration = Duration::from_secs(5);
/// After a failure to accept, which is one of the whole process.
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// A pod for ztunnels to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The pod.
    pub workload: Workload,
    /// Where its network namespace is.
    pub netns: Place,
    /// Which it was when the offer was made.
    pub id: NetnsId,
}

/// What the ztunnels say to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None is connected.
    NoZtunnel,
    /// None has answered yet.
    Waiting,
    /// Those that answered refused.
    Refused(String),
    /// At least one has its sockets in the pod.
    Accepted,
}

/// Handle to all of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ztunnels(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    started: Instant,
}

impl Default for Ztunnels {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            started: Instant::now(),
        }))
    }
}

impl Ztunnels {
    /// Offer a pod, or change the offer.
    pub fn offer(&self, offer: Offer) {
        if self.lock().offer(offer) {
            self.changed();
        }
    }

    /// Withdraw the offer of a pod.
    pub fn withdraw(&self, uid: &str) {
        if self.lock().withdraw(uid) {
            self.changed();
        }
    }

    /// What the ztunnels say to the present offer of a pod.
    #[must_use]
    pub fn answer(&self, uid: &str) -> Answer {
        self.lock().answer(uid)
    }

    /// Whether no ztunnel holds a pod that is no longer on offer.
    #[must_use]
    pub fn is_withdrawn(&self, uid: &str) -> bool {
        let state = self.lock();
        let may_return = !state.had_peer() && self.0.started.elapsed() < RETURN;
        !state.is_held(uid) && !may_return
    }

    /// When [`Ztunnels::is_withdrawn`] may change without a ztunnel's doing.
    #[must_use]
    pub fn settled(&self) -> Instant {
        self.0.started + RETURN
    }

    /// For which kind of ztunnel rules are to be made: stock as soon as one is connected; `None` while
    /// none is.
    #[must_use]
    pub fn flavour(&self) -> Option<Flavour> {
        self.lock().flavour()
    }

    /// Told of every change of what the functions above say.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Serve every ztunnel that connects, each by a task of its own, until the drain starts. A ztunnel
    /// has `deadline` for each answer.
    pub async fn serve(self, server: Server, deadline: Duration, drain: Drain) {
        loop {
            let accepted = tokio::select! {
                () = drain.signaled() => return,
                accepted = server.accept() => accepted,
            };
            match accepted {
                Ok(pending) => {
                    let peer = peer::serve(self.clone(), pending, deadline, drain.clone());
                    task::spawn("zds_peer", peer);
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept a ztunnel");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn changed(&self) {
        metrics::ztunnels(self.lock().count());
        self.0.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
