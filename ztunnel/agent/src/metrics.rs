//! The agent's metrics. Labels have few, fixed values.

use std::sync::LazyLock;

use culvert_runtime::metrics::{int_counter_vec, int_gauge_vec};
use prometheus::{IntCounterVec, IntGaugeVec};

static PODS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_agent_pods",
        "Pods of this node that are or were in the mesh, by state of their capture.",
        &["state"],
    )
});
static ZTUNNELS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_agent_ztunnels",
        "Connected ztunnels, by kind.",
        &["kind"],
    )
});
static REPAIRS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_agent_repairs_total",
        "Captured pods whose rules or routes were found changed and were put right.",
        &[],
    )
});
static PLAINTEXT_CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_agent_plaintext_connections_closed_total",
        "Plaintext connections to strict ports that went around the mesh and were ended.",
        &[],
    )
});
static CNI_REPAIRS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_agent_cni_repairs_total",
        "Times that the CNI plugin's entry was found gone and was put back.",
        &[],
    )
});
static CNI_CONTENDED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_agent_cni_contended",
        "1 while another program takes the CNI plugin's entry out again and again.",
        &[],
    )
});
static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_agent_failures_total",
        "Failures, by what failed: capture, release, store, zds, report, cni, probes, strict, watch.",
        &["stage"],
    )
});

/// Set the number of pods in each state.
pub(crate) fn pods<'a>(states: impl Iterator<Item = &'a str>) {
    for state in ["captured", "pending", "failed", "released"] {
        PODS.with_label_values(&[state]).set(0);
    }
    for state in states {
        PODS.with_label_values(&[state]).inc();
    }
}

/// Set the number of connected ztunnels, ours and stock.
pub(crate) fn ztunnels((ours, stock): (usize, usize)) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    ZTUNNELS.with_label_values(&["culvert"]).set(number(ours));
    ZTUNNELS.with_label_values(&["stock"]).set(number(stock));
}

/// Count a repair.
pub(crate) fn repair() {
    REPAIRS.with_label_values(&[] as &[&str]).inc();
}

/// Count plaintext connections that were ended.
pub(crate) fn plaintext_closed(count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    PLAINTEXT_CLOSED
        .with_label_values(&[] as &[&str])
        .inc_by(count);
}

/// Count a repair of the CNI configuration.
pub(crate) fn cni_repair() {
    CNI_REPAIRS.with_label_values(&[] as &[&str]).inc();
}

/// Say whether somebody else wants the last word on the CNI configuration.
pub(crate) fn cni_contended(contended: bool) {
    let gauge = CNI_CONTENDED.with_label_values(&[] as &[&str]);
    gauge.set(i64::from(contended));
}

/// Count a failure.
pub(crate) fn failure(stage: &str) {
    FAILURES.with_label_values(&[stage]).inc();
}
