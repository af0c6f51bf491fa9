//! How many pods are served, under the names that dashboards of ambient meshes know.

use std::sync::LazyLock;

use culvert_runtime::metrics::{int_counter_vec, int_gauge_vec};
use prometheus::{IntCounterVec, IntGaugeVec};

static ACTIVE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "workload_manager_active_proxy_count",
        "Pods that are served.",
        &[],
    )
});
static STARTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "workload_manager_proxies_started_total",
        "Pods that were begun to be served.",
        &[],
    )
});
static STOPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "workload_manager_proxies_stopped_total",
        "Pods that are no longer served.",
        &[],
    )
});

const NONE: &[&str] = &[];

/// A pod joined.
pub(super) fn started() {
    STARTED.with_label_values(NONE).inc();
    ACTIVE.with_label_values(NONE).inc();
}

/// A pod left.
pub(super) fn stopped() {
    STOPPED.with_label_values(NONE).inc();
    ACTIVE.with_label_values(NONE).dec();
}
