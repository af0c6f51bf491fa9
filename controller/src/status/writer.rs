//! Writes the status when something changed, not more often than is of use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Document;
use crate::atomic;
use crate::engine::Event;

/// Between two writes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Writes the files of one directory.
#[derive(Debug)]
pub struct Writer {
    status: PathBuf,
}

impl Writer {
    /// Files of `DIR/.status`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            status: dir.join("status.json"),
        }
    }

    /// Where the memory of `DIR/.status` is.
    #[must_use]
    pub fn memory(dir: &Path) -> PathBuf {
        dir.join("memory.json")
    }

    /// Write until the drain has started and the last state is written.
    pub async fn run(
        mut self,
        engine: mpsc::Sender<Event>,
        mut changes: watch::Receiver<u64>,
        drain: Drain,
    ) {
        loop {
            let (reply, document) = oneshot::channel();
            let began = Instant::now();
            changes.mark_unchanged();
            if engine.send(Event::Status(reply)).await.is_err() {
                return;
            }
            let Ok(document) = document.await else { return };
            let Some(writer) = self.write_blocking(document).await else {
                return;
            };
            self = writer;
            if drain.is_draining() {
                return;
            }
            // A large status is written less often.
            let pause = INTERVAL.max(began.elapsed() * 10);
            tokio::time::sleep(pause).await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = drain.signaled() => {}
            }
        }
    }

    async fn write_blocking(self, document: Document) -> Option<Self> {
        let written = tokio::task::spawn_blocking(move || self.write(&document)).await;
        written
            .inspect_err(|error| tracing::error!(%error, "writing the status"))
            .ok()
    }

    fn write(self, document: &Document) -> Self {
        let text = serde_json::to_vec_pretty(document).map_err(Into::into);
        if let Err(error) = text.and_then(|text| atomic::replace(&self.status, &text, 0o644)) {
            tracing::error!(file = %self.status.display(), %error, "cannot be written");
        }
        self
    }
}
