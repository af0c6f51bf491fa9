//! Counters of the client, with Istio's names where Istio has them.

use std::sync::LazyLock;

use culvert_runtime::metrics::int_counter_vec;
use prometheus::IntCounterVec;

pub(crate) static TERMINATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_xds_connection_terminations_total",
        "Streams to the control plane that ended, by reason.",
        &["reason"],
    )
});

pub(crate) static MESSAGES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_xds_message_total",
        "Responses received from the control plane, by type.",
        &["url"],
    )
});

pub(crate) static MESSAGE_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "istio_xds_message_bytes_total",
        "Bytes of responses received from the control plane, by type.",
        &["url"],
    )
});

pub(crate) static REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_xds_rejected_resources_total",
        "Resources that failed validation and were rejected by name, by type.",
        &["url"],
    )
});
