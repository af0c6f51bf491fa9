//! Tells when to look at the directory again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// So long nothing may happen before the directory is looked at ...
const QUIET: Duration = Duration::from_millis(100);
/// ... but never longer than this after the first event.
const AT_MOST: Duration = Duration::from_secs(1);

/// Events of a directory.
#[derive(Debug)]
pub(super) struct Watch {
    // Events end when it is dropped.
    _watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
}

impl Watch {
    /// Watch `root` and all below. Where that is impossible, only the rescan is left.
    pub(super) fn new(root: &Path) -> Self {
        let (told, events) = mpsc::channel(1);
        let base = root.to_path_buf();
        let handler = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| counts(&base, &event)) {
                // A full channel says already that something happened.
                let _ = told.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(dir = %root.display(), %error, "cannot watch; changes are only found by rescans");
        });
        Self {
            _watcher: watcher.ok(),
            events,
        }
    }

    /// Return when the directory was quiet after an event, or after `rescan` without one.
    pub(super) async fn quiet(&mut self, rescan: Duration) {
        let began = Instant::now();
        match timeout(rescan, self.events.recv()).await {
            Err(_elapsed) => return,
            // No watcher.
            Ok(None) => return tokio::time::sleep_until(began + rescan).await,
            Ok(Some(())) => {}
        }
        let end = Instant::now() + AT_MOST;
        loop {
            let until = end.min(Instant::now() + QUIET);
            match timeout_at(until, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < end => {}
                _ => return,
            }
        }
    }
}

/// Reading is no change, nor is anything in a hidden file or directory, such as our own.
fn counts(root: &Path, event: &notify::Event) -> bool {
    let visible = |path: &PathBuf| {
        let below = path.strip_prefix(root).unwrap_or(path);
        !below
            .iter()
            .any(|part| part.as_encoded_bytes().first() == Some(&b'.'))
    };
    let reading = matches!(event.kind, EventKind::Access(_));
    event.need_rescan() || (!reading && (event.paths.is_empty() || event.paths.iter().any(visible)))
}
