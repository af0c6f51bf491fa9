//! Refused and cut connections by their `DenyReason`.

use std::sync::LazyLock;

use culvert_runtime::metrics::int_counter_vec;
use prometheus::IntCounterVec;

use super::facts::Direction;
use crate::proxy::denial::Denial;

static DENIED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_connections_denied_total",
        "Connections that were refused, or ended before their time, by the reason.",
        &["direction", "reason"],
    )
});

/// One more.
pub(super) fn count(direction: Direction, denial: &Denial) {
    let labels = [direction.as_str(), denial.reason.as_str()];
    DENIED.with_label_values(&labels).inc();
}
