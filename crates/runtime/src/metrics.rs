//! The process's metrics in one registry.
//!
//! Invariant: a metric's name is written in full where it is made; this library adds no `_total`.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry of the process.
#[must_use]
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// All metrics in Prometheus' text format.
#[must_use]
pub fn encode() -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "cannot encode metrics");
    }
    text
}

/// Make and register a counter. Its name must end in `_total`.
#[must_use]
pub fn int_counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(name, IntCounterVec::new(Opts::new(name, help), labels))
}

/// Make and register a gauge.
#[must_use]
pub fn int_gauge_vec(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(name, IntGaugeVec::new(Opts::new(name, help), labels))
}

/// Make and register a histogram with the given upper bounds.
#[must_use]
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(name, HistogramVec::new(options, labels))
}

/// Names are constants of the program, so that a wrong one shows at its first start, in every test.
#[expect(
    clippy::panic,
    reason = "a malformed or doubled constant name is a mistake in the program"
)]
fn registered<C: Collector + Clone + 'static>(name: &str, made: prometheus::Result<C>) -> C {
    let registered = made.and_then(|c| REGISTRY.register(Box::new(c.clone())).map(|()| c));
    registered.unwrap_or_else(|error| panic!("metric {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exposed_as_written() {
        let counter = int_counter_vec("culvert_test_total", "A test.", &["kind"]);
        counter.with_label_values(&["a\"b"]).inc_by(2);
        let text = encode();
        assert!(
            text.contains("# TYPE culvert_test_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains("culvert_test_total{kind=\"a\\\"b\"} 2\n"),
            "{text}"
        );
        assert!(!text.contains("culvert_test_total_total"));
    }
}
