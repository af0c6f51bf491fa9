//! Pods that come and go while a large mesh is measured: of ten pods of a service each is replaced, at another address,
//! twice a second, as a rolling update does.

use super::objects;
use anyhow::{Result, anyhow};
use culvert_lab::Mesh;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Pods that change.
const PODS: usize = 10;
/// Between two changes of each, in steps so that an end is seen soon.
const STEP: Duration = Duration::from_millis(50);
const STEPS: u32 = 10;

/// Goes on until it is ended.
pub(super) struct Churn {
    changes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Churn {
    /// Begins.
    pub(super) fn start(mesh: &Mesh<'_>) -> Self {
        let (changes, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let dir = mesh.config_dir().to_owned();
        let thread = thread::spawn({
            let (changes, over) = (Arc::clone(&changes), Arc::clone(&over));
            move || replace(&dir, &changes, &over)
        });
        Self {
            changes,
            over,
            thread,
        }
    }

    /// Pods that were replaced so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Ends, with all pods gone.
    pub(super) fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let outcome = self.thread.join();
        outcome.map_err(|_| anyhow!("the churn panicked"))?
    }
}

fn replace(dir: &Path, changes: &AtomicU64, over: &AtomicBool) -> Result<()> {
    let file = |pod: usize| dir.join(format!("churn-{pod}.yaml"));
    for generation in 0.. {
        for pod in 0..PODS {
            put(&file(pod), &objects::replaced(pod, generation))?;
            changes.fetch_add(1, Ordering::Relaxed);
        }
        for _ in 0..STEPS {
            if over.load(Ordering::Relaxed) {
                (0..PODS).try_for_each(|pod| std::fs::remove_file(file(pod)))?;
                return Ok(());
            }
            thread::sleep(STEP);
        }
    }
    Ok(())
}

/// At once, so that a reader never sees a half of it.
fn put(path: &PathBuf, text: &str) -> Result<()> {
    let new = path.with_file_name(".churn.new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(&new, path)?)
}
