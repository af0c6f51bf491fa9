//! DNS as Istio's dashboards know it.

use std::sync::LazyLock;
use std::time::Duration;

use culvert_runtime::metrics::{histogram_vec, int_counter_vec};
use prometheus::{HistogramVec, IntCounterVec};

const NONE: &[&str] = &[];
const BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_dns_requests_total",
        "DNS questions of applications.",
        &[],
    )
});
static UPSTREAM: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_dns_upstream_requests_total",
        "DNS questions handed on to a resolver.",
        &[],
    )
});
static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_dns_upstream_failures_total",
        "DNS questions that no resolver answered.",
        &[],
    )
});
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Time from a question handed on to its answer.";
    histogram_vec(
        "istio_dns_upstream_request_duration_seconds",
        help,
        &[],
        BUCKETS,
    )
});
static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_dns_dropped_total",
        "DNS questions that were not even tried, by why.",
        &["reason"],
    )
});

/// An application asked.
pub(super) fn question() {
    REQUESTS.with_label_values(NONE).inc();
}

/// A resolver is asked.
pub(super) fn handed_on() {
    UPSTREAM.with_label_values(NONE).inc();
}

/// It answered after `elapsed`.
pub(super) fn answered(elapsed: Duration) {
    DURATION
        .with_label_values(NONE)
        .observe(elapsed.as_secs_f64());
}

/// It did not.
pub(super) fn failed() {
    FAILURES.with_label_values(NONE).inc();
}

/// A question was dropped: `limit`, `loop`, `malformed` or `pending`.
pub(super) fn dropped(reason: &str) {
    DROPPED.with_label_values(&[reason]).inc();
}
