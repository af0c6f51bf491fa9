//! When the API server had answered a write, and how long after that each client had decoded what follows from it.
//!
//! Invariant: a client counts once for each write; whoever had it before the answer counts as 0.

use hdrhistogram::Histogram;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A pod that runs is known.
    Appeared,
    /// It is known as an endpoint of its service.
    Endpoint,
    /// A pod that was deleted is unknown.
    Gone,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Appeared, Self::Endpoint, Self::Gone];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Appeared => "pod runs -> known",
            Self::Endpoint => "slice written -> endpoint",
            Self::Gone => "pod deleted -> unknown",
        }
    }
}

/// Writes by what was written and its name.
type Writes = HashMap<(Kind, String), Arc<Mark>>;

/// All writes that are waited for.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    began: Instant,
    writes: Arc<RwLock<Writes>>,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// Microseconds; 0 as long as there is no answer.
    answered: AtomicU64,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            writes: Arc::default(),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A write is about to be sent that concerns a pod `NAMESPACE/NAME`.
    pub(crate) fn expect(&self, kind: Kind, pod: &str) -> Arc<Mark> {
        let mark = Arc::new(Mark::default());
        let mut writes = self.writes.write().unwrap_or_else(PoisonError::into_inner);
        writes.insert((kind, pod.to_owned()), mark.clone());
        mark
    }

    /// The API server has answered it.
    pub(crate) fn answered(&self, mark: &Mark) {
        mark.answered.store(self.micros().max(1), Ordering::Release);
    }

    /// How many writes are waited for.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let writes = self.writes.read().unwrap_or_else(PoisonError::into_inner);
        writes.keys().filter(|(of, _)| *of == kind).count()
    }

    fn latency(&self, kind: Kind, pod: &str) -> Option<u64> {
        let writes = self.writes.read().unwrap_or_else(PoisonError::into_inner);
        let mark = writes.get(&(kind, pod.to_owned()))?;
        match mark.answered.load(Ordering::Acquire) {
            0 => Some(0),
            answered => Some(self.micros().saturating_sub(answered)),
        }
    }
}

/// What one client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    marks: Marks,
    known: HashSet<(Kind, String)>,
    /// In microseconds.
    pub(crate) latencies: HashMap<Kind, Histogram<u64>>,
    pub(crate) resources: u64,
    pub(crate) bytes: u64,
}

impl Seen {
    pub(crate) fn new(marks: Marks) -> Self {
        Self {
            marks,
            known: HashSet::new(),
            latencies: HashMap::new(),
            resources: 0,
            bytes: 0,
        }
    }

    /// The client has decoded something of a pod.
    pub(crate) fn saw(&mut self, kind: Kind, pod: &str) {
        let Some(latency) = self.marks.latency(kind, pod) else {
            return;
        };
        if self.known.insert((kind, pod.to_owned())) {
            let histogram = self.latencies.entry(kind).or_insert_with(histogram);
            histogram.saturating_record(latency);
        }
    }
}

/// Up to ten minutes, to three digits.
#[expect(clippy::expect_used, reason = "the bounds are constants")]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_for_each_client_and_never_before_the_answer() {
        let marks = Marks::new();
        let mark = marks.expect(Kind::Gone, "demo/a");
        let (mut early, mut late) = (Seen::new(marks.clone()), Seen::new(marks.clone()));
        early.saw(Kind::Gone, "demo/a");
        early.saw(Kind::Appeared, "demo/a");
        marks.answered(&mark);
        std::thread::sleep(std::time::Duration::from_millis(5));
        late.saw(Kind::Gone, "demo/a");
        late.saw(Kind::Gone, "demo/a");
        assert_eq!(early.latencies[&Kind::Gone].max(), 0);
        assert!(!early.latencies.contains_key(&Kind::Appeared));
        assert_eq!(late.latencies[&Kind::Gone].len(), 1);
        assert!(late.latencies[&Kind::Gone].min() >= 5000);
        assert_eq!(marks.count(Kind::Gone), 1);
    }
}
