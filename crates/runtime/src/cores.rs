//! Data cores: threads with a single-threaded runtime each, on which the bytes of connections move.
//!
//! Invariant: a task never leaves the core it was spawned on, so that what it touches needs no lock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

mod moved;
mod sys;

pub use moved::{Moved, moved};

/// What a data core runs at a time while others want to run, too.
const SLICE: Duration = Duration::from_micros(300);

type LocalTask = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> LocalTask + Send>;

/// The data cores of a process. The threads end when the last [`Core`] handle is gone.
#[derive(Clone, Debug)]
pub struct Cores(Vec<Core>);

/// A handle to one data core.
#[derive(Clone, Debug)]
pub struct Core {
    index: usize,
    jobs: UnboundedSender<Job>,
    moved: Arc<Moved>,
}

impl Cores {
    /// Start `n` (at least one) threads called `name-0`, `name-1`, ...
    pub fn start(n: usize, name: &str) -> io::Result<Self> {
        let cores: io::Result<_> = (0..n.max(1))
            .map(|index| Core::start(index, name))
            .collect();
        Ok(Self(cores?))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The core for `key`: equal keys, equal core.
    #[must_use]
    pub fn pick(&self, key: u64) -> &Core {
        let count = self.0.len() as u64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "smaller than the number of cores"
        )]
        let index = (key % count) as usize;
        &self.0[index]
    }

    /// The core for `key`, unless that one moves much lately: then the next one that does not, if there is one.
    #[must_use]
    pub fn pick_quiet(&self, key: u64) -> &Core {
        let usual = self.pick(key);
        let after = self.0[usual.index..].iter();
        let mut all = after.chain(&self.0[..usual.index]);
        all.find(|core| !core.moved.is_much()).unwrap_or(usual)
    }

    /// All cores in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Core> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Cores {
    type Item = &'a Core;
    type IntoIter = std::slice::Iter<'a, Core>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Core {
    fn start(index: usize, name: &str) -> io::Result<Self> {
        let (jobs, inbox) = unbounded_channel();
        let (report, started) = std::sync::mpsc::channel();
        let moved = Arc::new(Moved::default());
        let counted = moved.clone();
        let body = move || {
            counted.begin();
            if let Err(error) = sys::ask_for_slices(SLICE) {
                tracing::debug!(%error, "slices stay as long as they are");
            }
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    drop(report.send(Ok(())));
                    serve(&runtime, inbox);
                }
                Err(error) => drop(report.send(Err(error))),
            }
        };
        thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(body)?;
        started
            .recv()
            .map_err(|_gone| io::Error::other("a data core ended while it started"))??;
        Ok(Self { index, jobs, moved })
    }

    /// Which core this is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Run `f` on the core, and there the future it returns, which need not be `Send`.
    pub fn spawn<F, Fut>(&self, f: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let job: Job = Box::new(move || Box::pin(f()));
        if self.jobs.send(job).is_err() {
            tracing::error!(core = self.index, "a data core has ended, its work is lost");
        }
    }
}

fn serve(runtime: &LocalRuntime, mut inbox: UnboundedReceiver<Job>) {
    runtime.block_on(async move {
        while let Some(job) = inbox.recv().await {
            crate::task::spawn_local("core", job());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::sync::oneshot;

    async fn thread_of(core: &Core) -> String {
        let (tx, rx) = oneshot::channel();
        core.spawn(move || async move {
            let name = Rc::new(thread::current().name().unwrap_or_default().to_owned());
            tokio::task::yield_now().await;
            tx.send(String::clone(&name)).unwrap();
        });
        rx.await.unwrap()
    }

    #[tokio::test]
    async fn work_stays_on_the_core_it_was_given_to() {
        let cores = Cores::start(2, "test").unwrap();
        assert_eq!(cores.count(), 2);
        for (index, core) in cores.iter().enumerate() {
            assert_eq!(core.index(), index);
            assert_eq!(thread_of(core).await, format!("test-{index}"));
        }
        assert_eq!(thread_of(cores.pick(7)).await, "test-1");
        assert_eq!(Cores::start(0, "least").unwrap().count(), 1);
    }

    #[tokio::test]
    async fn dropping_every_handle_ends_tasks_and_thread() {
        let cores = Cores::start(1, "ends").unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        cores.pick(0).spawn(move || async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(cores);
        dropped.await.unwrap_err();
    }
}
