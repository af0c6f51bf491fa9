//! Spawning with a name. Every task of a process is counted in `culvert_tasks{task}`, so that a leak
//! has a name in the metrics and a test can assert that the count returns to where it was.

use std::cell::RefCell;
use std::future::Future;
use std::sync::LazyLock;

use futures_util::FutureExt as _;
use prometheus::core::Collector as _;
use prometheus::{IntGauge, IntGaugeVec};
use tokio::task::JoinHandle;

static TASKS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    crate::metrics::int_gauge_vec("culvert_tasks", "Tasks alive, by name.", &["task"])
});

thread_local! {
    /// The gauges that this thread has used: there are as many as names, and each connection needs some.
    static USED: RefCell<Vec<(&'static str, IntGauge)>> = const { RefCell::new(Vec::new()) };
}

fn gauge(name: &'static str) -> IntGauge {
    USED.with_borrow_mut(|used| {
        // One name in two places is in here twice; both are the same gauge.
        if let Some((_, gauge)) = used.iter().find(|(known, _)| std::ptr::eq(*known, name)) {
            return gauge.clone();
        }
        let gauge = TASKS.with_label_values(&[name]);
        used.push((name, gauge.clone()));
        gauge
    })
}

/// Counts one live task for as long as it exists, also when it is cancelled or panics.
struct Live(IntGauge);

impl Live {
    fn new(name: &'static str) -> Self {
        let gauge = gauge(name);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `f`, counted from now on. Not an async block: that would hold the room for `f` twice, for every connection.
fn counted<F>(name: &'static str, f: F) -> impl Future<Output = ()> + use<F>
where
    F: Future<Output = ()>,
{
    let live = Live::new(name);
    f.map(move |()| drop(live))
}

/// Spawn `f` on the current runtime under `name`.
pub fn spawn<F>(name: &'static str, f: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(counted(name, f))
}

/// Spawn `f`, which need not be `Send`, on the current thread under `name`. Must be called on a data
/// core or inside a `LocalSet`.
pub fn spawn_local<F>(name: &'static str, f: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + 'static,
{
    tokio::task::spawn_local(counted(name, f))
}

/// Live tasks by name.
#[must_use]
pub fn live() -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    for family in TASKS.collect() {
        for metric in family.get_metric() {
            let name = metric
                .get_label()
                .first()
                .map(|label| label.value().to_owned());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a count of tasks is a small whole number"
            )]
            let count = metric.get_gauge().get_value() as i64;
            counts.push((name.unwrap_or_default(), count));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str) -> i64 {
        live()
            .into_iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, count)| count)
    }

    #[tokio::test]
    async fn counts_until_the_end_or_abort() {
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        let ends = spawn("test_ends", async move { drop(rx.await) });
        let aborted = spawn("test_aborted", std::future::pending());
        assert_eq!((count("test_ends"), count("test_aborted")), (1, 1));
        drop(tx);
        ends.await.unwrap();
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        assert_eq!((count("test_ends"), count("test_aborted")), (0, 0));
    }

    #[test]
    fn a_name_costs_a_task_little_room() {
        let f = async {
            let buffer = [0u8; 1000];
            tokio::task::yield_now().await;
            assert_eq!(buffer.iter().map(|&b| usize::from(b)).sum::<usize>(), 0);
        };
        let bare = size_of_val(&f);
        assert!(size_of_val(&counted("test_size", f)) <= bare + 32);
    }

    #[tokio::test]
    async fn local_tasks_count_too() {
        let set = tokio::task::LocalSet::new();
        set.run_until(async {
            let cell = std::rc::Rc::new(1);
            spawn_local("test_local", async move { assert_eq!(*cell, 1) })
                .await
                .unwrap();
        })
        .await;
        assert_eq!(count("test_local"), 0);
    }
}
