//! How often each policy struck, by kind.

use std::sync::LazyLock;

use culvert_runtime::metrics::int_counter_vec;
use prometheus::IntCounterVec;

static STRUCK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_connection_faults_total",
        "Connections that a FaultPolicy struck, by policy and kind.",
        &["policy", "kind"],
    )
});

/// What a connection can be struck with.
pub(super) const KINDS: [&str; 4] = ["delay", "reset", "blackhole", "throttle"];

/// One more.
pub(super) fn count(kind: &str, policy: &str) {
    STRUCK.with_label_values(&[policy, kind]).inc();
}

/// A policy is gone.
pub(super) fn forget(policy: &str) {
    for kind in KINDS {
        // It may never have struck so.
        drop(STRUCK.remove_label_values(&[policy, kind]));
    }
}
