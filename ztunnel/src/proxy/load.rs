//! How many connections this node has open to each workload, by which endpoints are chosen.
//!
//! Invariant: a workload that nobody is connected to takes no memory here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by workload uid. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<Mutex<Counts>>);

type Counts = HashMap<Arc<str>, (u32, Arc<Workload>)>;

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Loaded(Arc<Workload>);

/// What all connections to one workload share.
#[derive(Debug)]
struct Workload {
    load: Load,
    uid: Arc<str>,
}

impl Load {
    /// Connections to this workload that are open or being opened.
    pub(crate) fn of(&self, uid: &str) -> u32 {
        self.lock().get(uid).map_or(0, |(count, _)| *count)
    }

    /// Count a connection.
    pub(crate) fn start(&self, uid: &Arc<str>) -> Loaded {
        let mut counts = self.lock();
        let (count, workload) = counts.entry(uid.clone()).or_insert_with(|| {
            let (load, uid) = (self.clone(), uid.clone());
            (0, Arc::new(Workload { load, uid }))
        });
        *count += 1;
        Loaded(workload.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let Workload { load, uid } = &*self.0;
        let mut counts = load.lock();
        if let Some((count, _)) = counts.get_mut(uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_open_and_keeps_nothing_else() {
        let load = Load::default();
        let uid: Arc<str> = "a".into();
        let (first, second) = (load.start(&uid), load.start(&uid));
        assert_eq!(load.of("a"), 2);
        drop(first);
        assert_eq!(load.of("a"), 1);
        drop(second);
        assert_eq!(load.of("a"), 0);
        assert!(load.lock().is_empty());
    }
}
