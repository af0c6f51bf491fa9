//! How names were resolved.

use std::sync::LazyLock;

use culvert_runtime::metrics::int_counter_vec;
use prometheus::IntCounterVec;

use crate::Found;
use crate::query::Failure;

static ASKED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_resolve_total",
        "Names outside of the cluster that were asked for, by what came of it.",
        &["result"],
    )
});

pub(crate) fn asked(found: &Result<Found, Failure>) {
    let result = match found {
        Ok(_) => "resolved",
        Err(Failure::NoAddress) => "no_address",
        Err(Failure::Failed) => "failed",
    };
    ASKED.with_label_values(&[result]).inc();
}
