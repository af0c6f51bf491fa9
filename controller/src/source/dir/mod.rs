//! Objects from a directory of YAML files that is watched.
//!
//! A change is looked at once the directory was quiet for a moment; a slow rescan finds what no event told of. The last
//! good objects are kept in a file of the state directory, so that an error does not take them away at a restart either.

mod good;
mod merge;
pub mod positions;
mod scan;
mod watch;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use tokio::sync::mpsc;

use super::{Batch, Source};
use merge::Merged;
use scan::Files;
use watch::Watch;

/// Without an event.
const RESCAN: Duration = Duration::from_secs(10);

/// Why a directory cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It is not there, or not a directory.
    #[error("{path}: {source}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was in force before cannot be known.
    #[error("{path}: {message}; repair it, or remove it to begin with what the directory holds")]
    LastGood {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// A directory of YAML files.
#[derive(Debug)]
pub struct Dir {
    root: PathBuf,
    last_good: PathBuf,
    files: Files,
    merged: Merged,
}

impl Dir {
    /// Read `root` for the first time, with what `state` remembers of it. Changes nothing.
    pub fn read(root: &Path, state: &Path) -> Result<(Self, Batch), DirError> {
        std::fs::read_dir(root).map_err(|source| DirError::Unreadable {
            path: root.into(),
            source,
        })?;
        let last_good = state.join("last-good.json");
        let mut dir = Self {
            root: root.into(),
            merged: Merged::new(good::load(&last_good)?),
            last_good,
            files: Files::default(),
        };
        dir.files.scan(&dir.root);
        let mut batch = dir.merged.update(&dir.files);
        // What was remembered is new to whoever asks for the first time.
        batch.changes = dir.merged.everything();
        Ok((dir, batch))
    }

    /// Look again. Blocks on the file system.
    fn refresh(&mut self) -> Batch {
        self.files.scan(&self.root);
        let batch = self.merged.update(&self.files);
        if !batch.changes.is_empty() {
            self.remember();
        }
        batch
    }

    fn remember(&self) {
        if let Err(error) = good::store(&self.last_good, &self.merged) {
            let file = self.last_good.display();
            tracing::error!(%file, %error, "cannot remember the last good objects");
        }
    }
}

/// A directory that is watched.
#[derive(Debug)]
pub struct Watched {
    dir: Dir,
    watch: Watch,
}

impl Watched {
    /// Watch `root`, read it for the first time, and remember in `state` what is in force.
    pub fn open(root: &Path, state: &Path) -> Result<(Self, Batch), DirError> {
        // Before the first look, so that no change falls between the two.
        let watch = Watch::new(root);
        let (dir, batch) = Dir::read(root, state)?;
        dir.remember();
        Ok((Self { dir, watch }, batch))
    }
}

impl Source for Watched {
    async fn run(self, batches: mpsc::Sender<Batch>, drain: Drain) {
        let Self { mut dir, mut watch } = self;
        let mut last = None;
        loop {
            tokio::select! {
                () = drain.signaled() => return,
                () = watch.quiet(RESCAN) => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                let batch = dir.refresh();
                (dir, batch)
            });
            let Ok((looked, batch)) = looked.await else {
                tracing::error!(
                    "reading the configuration directory panicked; it is no longer watched"
                );
                return;
            };
            dir = looked;
            let news = !batch.changes.is_empty() || last.as_ref() != Some(&batch.rejections);
            last = Some(batch.rejections.clone());
            if news && batches.send(batch).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
