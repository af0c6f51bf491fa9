//! What FaultPolicies do to the connections of this node's pods, as the controller tells it.
//!
//! Invariants: where there is no fault, a connection is asked one question for it, which takes no lock; a policy is over
//! at the end of its term without anybody's word; a change is told to whoever is struck by a policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use culvert_proto::type_url;
use culvert_xds::{Handler, Rejected, Update};
use serde::Serialize;
use tokio::sync::watch;

mod aim;
mod metrics;
mod policy;
mod strike;

pub(crate) use aim::Aim;
pub(crate) use policy::Policy;
pub(crate) use strike::{Shape, Strike};

/// All policies, by `NAMESPACE/NAME` of their resources.
type Table = BTreeMap<Arc<str>, Arc<Policy>>;

/// The policies that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// At least one is in force.
    any: AtomicBool,
    table: watch::Sender<Arc<Table>>,
}

/// A policy as the admin server shows it.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    #[serde(flatten)]
    policy: Arc<Policy>,
    /// Until it is over; none: until it is removed.
    seconds_left: Option<u64>,
}

impl Faults {
    /// The types that this takes.
    pub(crate) const TYPES: &'static [&'static str] = &[type_url::CONNECTION_FAULT];

    /// Whether there is anything to strike with.
    pub(crate) fn any(&self) -> bool {
        self.0.any.load(Ordering::Relaxed)
    }

    /// What strikes a connection that is aimed at so, if anything. The dice are rolled here.
    pub(crate) fn strike(&self, aim: Aim) -> Option<Strike> {
        let mut changes = self.0.table.subscribe();
        let table = changes.borrow_and_update().clone();
        let strike = Strike::roll(&table, aim, changes, rand::random)?;
        strike.each(metrics::count);
        Some(strike)
    }

    /// Those in force.
    pub(crate) fn views(&self) -> Vec<View> {
        let now = Instant::now();
        let table = self.0.table.borrow().clone();
        let active = table.values().filter(|policy| policy.is_active(now));
        active
            .map(|policy| View {
                policy: policy.clone(),
                seconds_left: policy.left(now).map(|left| left.as_secs()),
            })
            .collect()
    }

    /// End policies when their time has come, for ever.
    pub(crate) async fn run(self) {
        let mut changes = self.0.table.subscribe();
        loop {
            let ends = self.end(&changes.borrow_and_update());
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(ends) => self.publish(|_| {}),
            }
        }
    }

    /// When the next one ends.
    fn end(&self, table: &Table) -> Option<Instant> {
        let now = Instant::now();
        let ends = table.values().filter_map(|policy| policy.until());
        ends.filter(|end| *end > now).min()
    }

    /// Change the policies, and tell everybody.
    fn publish(&self, change: impl FnOnce(&mut Table)) {
        self.0.table.send_modify(|table| {
            let mut next = Table::clone(table);
            change(&mut next);
            let now = Instant::now();
            let any = next.values().any(|policy| policy.is_active(now));
            *table = Arc::new(next);
            self.0.any.store(any, Ordering::Relaxed);
        });
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

impl Handler for Faults {
    fn apply(&mut self, _type_url: &str, update: Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        if update.removed.is_empty() && update.resources.is_empty() {
            return rejected;
        }
        self.publish(|table| {
            for name in update.removed {
                if let Some(gone) = table.remove(&name) {
                    metrics::forget(gone.name());
                }
            }
            for resource in update.resources {
                match Policy::decode(&resource.body) {
                    Ok(policy) => {
                        let known = table.get(&resource.name).map(Arc::as_ref);
                        let policy = Arc::new(policy.following(known));
                        table.insert(resource.name, policy);
                    }
                    Err(error) => rejected.push(Rejected {
                        name: resource.name,
                        error: error.to_string(),
                    }),
                }
            }
        });
        rejected
    }
}

#[cfg(test)]
mod tests;
