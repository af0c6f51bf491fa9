//! Closed loops side by side: each does one thing after the other until the time is over.

use super::{Account, Order};
use crate::latency::Latency;
use anyhow::Result;
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::LocalSet;

/// How long the loops run, and what they took.
#[derive(Clone)]
pub(super) struct Clock {
    begin: Instant,
    limit: Duration,
    latency: Rc<RefCell<Latency>>,
}

impl Clock {
    /// Whether there is time for one more.
    pub(super) fn goes_on(&self) -> bool {
        self.begin.elapsed() < self.limit
    }

    /// One was served in this time.
    pub(super) fn record(&self, took: Duration) {
        self.latency.borrow_mut().record(took);
    }
}

/// Runs one loop for each of `all`. A loop gives back how many it served.
pub(super) async fn run<T, F>(
    order: &Order,
    all: impl IntoIterator<Item = T>,
    each: impl Fn(T, Clock) -> F,
) -> Result<Account>
where
    F: Future<Output = Result<u64>> + 'static,
{
    let clock = Clock {
        begin: Instant::now(),
        limit: Duration::from_secs_f64(order.seconds),
        latency: Rc::default(),
    };
    let tasks = LocalSet::new();
    let start = |one| tasks.spawn_local(each(one, clock.clone()));
    let loops: Vec<_> = all.into_iter().map(start).collect();
    let mut account = Account::default();
    tasks
        .run_until(async {
            for each in loops {
                account.served += each.await??;
            }
            anyhow::Ok(())
        })
        .await?;
    account.seconds = clock.begin.elapsed().as_secs_f64();
    account.intended = account.served;
    account.latency = clock.latency.take();
    Ok(account)
}
