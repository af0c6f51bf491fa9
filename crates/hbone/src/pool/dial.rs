//! One dial, and those who wait for it.
//!
//! Invariant: whoever waits gets the dial's own outcome, or learns that the dialler was cancelled and tries itself; a
//! waiter is never forgotten.

use crate::error::ClientError;
use tokio::sync::watch;

type Outcome = Option<Result<(), ClientError>>;

/// Held by the one who dials.
pub(super) struct Dialing(watch::Sender<Outcome>);

/// Held by an entry, and by those who wait.
#[derive(Debug, Clone)]
pub(super) struct Waiting(watch::Receiver<Outcome>);

pub(super) fn start() -> (Dialing, Waiting) {
    let (tx, rx) = watch::channel(None);
    (Dialing(tx), Waiting(rx))
}

impl Dialing {
    pub(super) fn finish(self, outcome: Result<(), ClientError>) {
        self.0.send_replace(Some(outcome));
    }
}

impl Waiting {
    /// Whether the dial goes on.
    pub(super) fn is_pending(&self) -> bool {
        self.0.borrow().is_none() && self.0.has_changed().is_ok()
    }

    /// The dial's outcome; success also when the dialler was cancelled, so that who waited looks again.
    pub(super) async fn outcome(mut self) -> Result<(), ClientError> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_cancelled) => Ok(()),
        }
    }
}
