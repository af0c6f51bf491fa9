//! Counters of TCP connections, with the names and labels of Istio's standard metrics.
//!
//! Invariants: one set of counters for each set of labels, looked up once for a connection; the number of sets is
//! bounded, what is beyond falls into one set without names; a set that nobody used for an hour is forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use culvert_runtime::metrics::{int_counter_vec, int_gauge_vec};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::labels::{LABELS, Labels};

/// Sets of labels at once.
const MAX_SERIES: usize = 10_000;
/// Unused for so long, a set of labels is forgotten.
const IDLE: Duration = Duration::from_secs(3600);

/// The counters of one set of labels.
#[derive(Debug)]
pub(crate) struct Series {
    labels: Labels,
    opened: IntCounter,
    closed: IntCounter,
    failed: IntCounter,
    sent: IntCounter,
    received: IntCounter,
    open: IntGauge,
    /// Seconds since the first series was made.
    used: AtomicU64,
}

struct Metrics {
    started: Instant,
    opened: IntCounterVec,
    closed: IntCounterVec,
    failed: IntCounterVec,
    sent: IntCounterVec,
    received: IntCounterVec,
    open: IntGaugeVec,
    series: Mutex<HashMap<Labels, Arc<Series>>>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    started: Instant::now(),
    opened: int_counter_vec(
        "istio_tcp_connections_opened_total",
        "TCP connections opened.",
        &LABELS,
    ),
    closed: int_counter_vec(
        "istio_tcp_connections_closed_total",
        "TCP connections closed.",
        &LABELS,
    ),
    failed: int_counter_vec(
        "istio_tcp_connections_failed_total",
        "TCP connections that were never opened.",
        &LABELS,
    ),
    sent: int_counter_vec(
        "istio_tcp_sent_bytes_total",
        "Bytes from servers to clients.",
        &LABELS,
    ),
    received: int_counter_vec(
        "istio_tcp_received_bytes_total",
        "Bytes from clients to servers.",
        &LABELS,
    ),
    open: int_gauge_vec(
        "istio_tcp_sockets_open",
        "TCP connections that are open.",
        &["reporter"],
    ),
    series: Mutex::default(),
});

impl Series {
    /// The counters for `labels`.
    pub(crate) fn of(labels: Labels) -> Arc<Self> {
        let mut series = METRICS.lock();
        if let Some(known) = series.get(&labels) {
            known.touch();
            return known.clone();
        }
        let labels = if series.len() < MAX_SERIES {
            labels
        } else {
            labels.without_names()
        };
        series
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(METRICS.make(labels)))
            .clone()
    }

    /// A connection was established.
    pub(crate) fn opened(&self) {
        self.opened.inc();
        self.open.inc();
    }

    /// It has ended; when it was cut, it counts as closed under the labels that say why.
    pub(crate) fn closed(&self, cut: Option<&Self>) {
        cut.unwrap_or(self).closed.inc();
        self.open.dec();
        self.touch();
    }

    /// A connection came to nothing.
    pub(crate) fn failed(&self) {
        self.failed.inc();
    }

    /// Bytes moved from the client to the server, and back.
    pub(crate) fn bytes(&self, received: u64, sent: u64) {
        self.received.inc_by(received);
        self.sent.inc_by(sent);
    }

    fn touch(&self) {
        self.used.store(METRICS.now(), Ordering::Relaxed);
    }
}

impl Metrics {
    fn make(&self, labels: Labels) -> Series {
        let values = labels.values();
        Series {
            opened: self.opened.with_label_values(&values),
            closed: self.closed.with_label_values(&values),
            failed: self.failed.with_label_values(&values),
            sent: self.sent.with_label_values(&values),
            received: self.received.with_label_values(&values),
            open: self.open.with_label_values(&[labels.reporter.as_str()]),
            used: AtomicU64::new(self.now()),
            labels,
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Labels, Arc<Series>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forget sets of labels that no open connection holds and none has used for an hour.
pub(crate) fn forget_idle() {
    forget_unused_for(IDLE);
}

fn forget_unused_for(idle: Duration) {
    let now = METRICS.now();
    METRICS.lock().retain(|_, series| {
        let used = Arc::strong_count(series) > 1
            || now - series.used.load(Ordering::Relaxed) < idle.as_secs();
        if !used {
            let values = series.labels.values();
            let Metrics {
                opened,
                closed,
                failed,
                sent,
                received,
                ..
            } = &*METRICS;
            for metric in [opened, closed, failed, sent, received] {
                drop(metric.remove_label_values(&values));
            }
        }
        used
    });
}

#[cfg(test)]
mod tests {
    use super::super::labels::{Reporter, Security};
    use super::super::party::Party;
    use super::*;

    fn labels(name: &str) -> Labels {
        let id = format!("spiffe://cluster.local/ns/default/sa/{name}");
        Labels {
            reporter: Reporter::Source,
            source: Party::anonymous(Some(&id.parse().unwrap())),
            destination: Party::default(),
            service: None,
            security: Security::MutualTls,
            flags: "-",
        }
    }

    /// Sets of labels of this test.
    fn named() -> usize {
        let series = METRICS.lock();
        let mine = |labels: &&Labels| labels.values().iter().any(|value| value.contains("/w-"));
        series.keys().filter(mine).count()
    }

    #[test]
    fn series_are_shared_bounded_and_forgotten() {
        let first = Series::of(labels("w-first"));
        first.opened();
        first.bytes(5, 7);
        assert!(Arc::ptr_eq(&first, &Series::of(labels("w-first"))));
        let text = culvert_runtime::metrics::encode();
        let line = text
            .lines()
            .find(|l| l.starts_with("istio_tcp_received_bytes_total") && l.contains("w-first"));
        assert!(line.unwrap().ends_with(" 5"), "{line:?}");

        for i in 0..=MAX_SERIES {
            Series::of(labels(&format!("w-{i}")));
        }
        assert!(
            named() < MAX_SERIES + 1,
            "the last of them got no set of its own"
        );
        let beyond = Series::of(labels("w-beyond"));
        assert_eq!(beyond.labels, labels("w-beyond").without_names());
        drop(beyond);

        forget_unused_for(Duration::ZERO);
        assert_eq!(named(), 1, "only what a connection holds is left");
        assert!(!culvert_runtime::metrics::encode().contains("w-17\""));
        first.closed(None);
    }
}
