//! The controller's metrics.

use std::sync::LazyLock;

use culvert_runtime::metrics::{int_counter_vec, int_gauge_vec};
use prometheus::{IntCounterVec, IntGaugeVec};

use crate::cache::Cache;
use crate::model::Kind;

/// Objects in force, by kind.
static OBJECTS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| int_gauge_vec("culvert_controller_objects", "Objects in force.", &["kind"]));

/// Errors in what the user wrote.
static REJECTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_rejected",
        "Errors in the configuration.",
        &[],
    )
});

/// Open streams, by component.
pub static CLIENTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_connected_clients",
        "Open streams.",
        &["component"],
    )
});

/// Responses sent, by type.
pub static PUSHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_pushes_total",
        "xDS responses sent.",
        &["type"],
    )
});

/// Resources sent, by type.
pub static RESOURCES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_resources_total",
        "xDS resources sent or removed.",
        &["type"],
    )
});

/// Responses that a client refused, by type.
pub static NACKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_nacks_total",
        "xDS responses refused by clients.",
        &["type"],
    )
});

/// Certificate requests, by outcome.
pub static CERTIFICATES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_certificates_total",
        "Certificate requests.",
        &["outcome"],
    )
});

/// Calls that were refused for their token.
pub static UNAUTHENTICATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_unauthenticated_total",
        "Calls without a good token.",
        &["service"],
    )
});

/// Whether this replica leads.
pub static LEADER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_leader",
        "1 in the replica that writes status and deploys waypoints.",
        &[],
    )
});

/// Whether the Secret of the authority is gone or cannot be used.
pub static AUTHORITY_UNUSABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_authority_unusable",
        "1 while the Secret of the certificate authority is gone or cannot be used.",
        &[],
    )
});

/// Whether the API server is out of reach.
pub static UNREACHABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_api_unreachable",
        "1 while the API server does not answer; what was known before is served.",
        &[],
    )
});

/// Kinds of which what is served has not caught up with the API server.
static BEHIND: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge_vec(
        "culvert_controller_behind",
        "1 while clients that come from another replica wait for news of this kind.",
        &["kind"],
    )
});

/// Failed lists and watches, by kind.
pub static WATCH_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_controller_watch_errors_total",
        "Lists and watches of the API server that failed.",
        &["kind"],
    )
});

/// These kinds, and no others, have not caught up.
pub(crate) fn observe_behind(behind: &[Kind]) {
    for kind in Kind::ALL {
        BEHIND
            .with_label_values(&[kind.as_str()])
            .set(behind.contains(&kind).into());
    }
}

/// What is in the cache, and how much is wrong.
pub(crate) fn observe(cache: &Cache, problems: usize) {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for (kind, objects) in cache.counts() {
        OBJECTS
            .with_label_values(&[kind.as_str()])
            .set(count(objects));
    }
    REJECTED.with_label_values::<&str>(&[]).set(count(problems));
}
