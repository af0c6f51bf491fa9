//! Metric series, found once for each combination of labels and core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use culvert_runtime::metrics;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::{SourceLabels, UNKNOWN};

/// Istio's labels, in the order of [`label_values`].
const LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// Istio's bounds of request durations, in milliseconds.
const BUCKETS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Distinct clients that a core tells apart; those beyond are counted by their certificate alone.
const MAX_SOURCES: usize = 4096;

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec("istio_requests_total", "HTTP requests, by outcome.", LABELS)
});
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::histogram_vec(
        "istio_request_duration_milliseconds",
        "From a request's arrival to the end of its response.",
        LABELS,
        BUCKETS,
    )
});
static TCP_OPENED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "istio_tcp_connections_opened_total",
        "TCP connections opened.",
        LABELS,
    )
});
static TCP_CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "istio_tcp_connections_closed_total",
        "TCP connections closed.",
        LABELS,
    )
});
static TCP_SENT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "istio_tcp_sent_bytes_total",
        "Bytes sent to clients of TCP connections.",
        LABELS,
    )
});
static TCP_RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "istio_tcp_received_bytes_total",
        "Bytes received from clients of TCP connections.",
        LABELS,
    )
});
static RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_retries_total",
        "Tries after the first, by service and by what made them necessary or forbade them.",
        &["destination_service", "result"],
    )
});
static FAULTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_faults_total",
        "Faults injected, by service, policy and kind.",
        &["destination_service", "policy", "kind"],
    )
});
static MIRRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_mirrors_total",
        "Copies of requests, by service and what became of them.",
        &["destination_service", "result"],
    )
});
static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_refused_total",
        "Requests and connections that this waypoint refused itself, by reason.",
        &["reason"],
    )
});
static BACKEND_TLS_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_backend_tls_failures_total",
        "Connections on which TLS with a backend did not come about, by policy and reason.",
        &["policy", "reason"],
    )
});
static EJECTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_waypoint_ejections_total",
        "Endpoints that were left out for a while, by service and reason.",
        &["destination_service", "reason"],
    )
});
static EJECTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::int_gauge_vec(
        "culvert_waypoint_ejections_active",
        "Endpoints that are left out now, by service.",
        &["destination_service"],
    )
});

/// Counts a connection without TLS that a policy asks for.
pub fn backend_tls_failed(policy: &str, reason: &str) {
    BACKEND_TLS_FAILURES
        .with_label_values(&[policy, reason])
        .inc();
}

/// Counts an endpoint that is left out from now on.
pub fn ejection(service: &str, reason: &str) {
    EJECTIONS.with_label_values(&[service, reason]).inc();
}

/// So many more endpoints are left out.
pub fn ejected(service: &str, more: i64) {
    if more != 0 {
        EJECTED.with_label_values(&[service]).add(more);
    }
}

/// Counts a try after the first, or that there was none: `sent`, `budget`, `body`.
pub fn retry(service: &str, result: &str) {
    RETRIES.with_label_values(&[service, result]).inc();
}

/// Counts an injected fault of a policy: `delay` or `abort`.
pub fn fault(service: &str, policy: &str, kind: &str) {
    FAULTS.with_label_values(&[service, policy, kind]).inc();
}

/// Counts a copy of a request: `sent`, `failed`, `overload`, `body`.
pub fn mirror(service: &str, result: &str) {
    MIRRORS.with_label_values(&[service, result]).inc();
}

/// Counts a refusal.
pub fn refused(reason: &str) {
    REFUSED.with_label_values(&[reason]).inc();
}

/// The labels of a destination, made once for each endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DestinationLabels {
    /// Fully qualified name of the service that the client addressed.
    pub service: String,
    /// Its short name.
    pub service_name: String,
    /// Its namespace.
    pub service_namespace: String,
    /// What created the endpoint's workload.
    pub workload: String,
    /// The workload's namespace.
    pub workload_namespace: String,
    /// The workload's identity.
    pub principal: String,
    /// The service that the workload belongs to.
    pub canonical_service: String,
    /// The version of that service.
    pub revision: String,
    /// The workload's cluster.
    pub cluster: String,
}

/// What tells one series from another. Endpoints and clients count by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client, by [`SeriesCache::source`].
    pub source: u32,
    /// The destination, by [`SeriesCache::destination`].
    pub destination: u32,
    /// `http`, `grpc`, `tcp`.
    pub protocol: &'static str,
    /// 0 for TCP.
    pub status: u16,
    /// From the response's headers or trailers.
    pub grpc: Option<u8>,
    /// Why a response is not the backend's, `-` if it is.
    pub flags: &'static str,
}

/// The counters of one combination of labels.
#[derive(Debug)]
pub struct Series {
    requests: IntCounter,
    duration: Histogram,
}

impl Series {
    /// Counts one request.
    pub fn observe(&self, took: Duration) {
        self.requests.inc();
        self.duration.observe(took.as_secs_f64() * 1000.0);
    }
}

/// One core's way to its series.
#[derive(Debug, Default)]
pub struct SeriesCache {
    sources: RefCell<Numbered<SourceLabels>>,
    destinations: RefCell<Numbered<DestinationLabels>>,
    series: RefCell<HashMap<Key, Rc<Series>>>,
}

#[derive(Debug)]
struct Numbered<T> {
    numbers: HashMap<T, u32>,
    labels: Vec<Vec<String>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            labels: Vec::new(),
        }
    }
}

impl SeriesCache {
    /// The number of a client. One client too many is known by its certificate alone.
    pub fn source(&self, labels: &SourceLabels, bare: impl FnOnce() -> SourceLabels) -> u32 {
        let mut sources = self.sources.borrow_mut();
        if let Some(number) = sources.numbers.get(labels) {
            return *number;
        }
        if sources.numbers.len() >= MAX_SOURCES {
            let bare = bare();
            return sources.add(bare.clone(), || source_values(&bare));
        }
        sources.add(labels.clone(), || source_values(labels))
    }

    /// The number of a destination. Endpoints with the same labels share it.
    pub fn destination(&self, labels: &DestinationLabels) -> u32 {
        self.destinations
            .borrow_mut()
            .add(labels.clone(), || destination_values(labels))
    }

    /// The series of a combination of labels.
    pub fn get(&self, key: Key) -> Rc<Series> {
        if let Some(series) = self.series.borrow().get(&key) {
            return Rc::clone(series);
        }
        let values = self.values(key);
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let series = Rc::new(Series {
            requests: REQUESTS.with_label_values(&values),
            duration: DURATION.with_label_values(&values),
        });
        self.series.borrow_mut().insert(key, Rc::clone(&series));
        series
    }

    /// Counts an opened TCP connection.
    pub fn tcp_opened(&self, key: Key) {
        let values = self.values(key);
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        TCP_OPENED.with_label_values(&values).inc();
    }

    /// Counts a closed TCP connection and its bytes, seen from the client's side.
    pub fn tcp_closed(&self, key: Key, received: u64, sent: u64) {
        let values = self.values(key);
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        TCP_CLOSED.with_label_values(&values).inc();
        TCP_RECEIVED.with_label_values(&values).inc_by(received);
        TCP_SENT.with_label_values(&values).inc_by(sent);
    }

    fn values(&self, key: Key) -> Vec<String> {
        let mut values = Vec::with_capacity(LABELS.len());
        values.push("waypoint".to_owned());
        values.extend(self.sources.borrow().labels(key.source, 8));
        // A certificate proves a principal, and nothing else does.
        let proven = values.get(3).is_some_and(|principal| principal != UNKNOWN);
        values.extend(self.destinations.borrow().labels(key.destination, 11));
        values.push(key.protocol.to_owned());
        values.push(key.status.to_string());
        values.push(
            key.grpc
                .map(|status| status.to_string())
                .unwrap_or_default(),
        );
        values.push(key.flags.to_owned());
        values.push(if proven { "mutual_tls" } else { UNKNOWN }.to_owned());
        values
    }
}

impl<T: std::hash::Hash + Eq> Numbered<T> {
    fn add(&mut self, key: T, labels: impl FnOnce() -> Vec<String>) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        self.labels.push(labels());
        self.numbers.insert(key, number);
        number
    }

    fn labels(&self, number: u32, count: usize) -> Vec<String> {
        let known = usize::try_from(number)
            .ok()
            .and_then(|index| self.labels.get(index))
            .cloned();
        known.unwrap_or_else(|| vec![UNKNOWN.to_owned(); count])
    }
}

fn source_values(source: &SourceLabels) -> Vec<String> {
    [
        &source.workload,
        &source.namespace,
        &source.principal,
        &source.service,
        &source.revision,
        &source.service,
        &source.revision,
        &source.cluster,
    ]
    .map(|label| label.to_string())
    .to_vec()
}

fn destination_values(destination: &DestinationLabels) -> Vec<String> {
    [
        &destination.service,
        &destination.service_name,
        &destination.service_namespace,
        &destination.workload,
        &destination.workload_namespace,
        &destination.principal,
        &destination.canonical_service,
        &destination.revision,
        &destination.canonical_service,
        &destination.revision,
        &destination.cluster,
    ]
    .map(|label| {
        if label.is_empty() {
            UNKNOWN.to_owned()
        } else {
            label.clone()
        }
    })
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: u32, destination: u32) -> Key {
        Key {
            source,
            destination,
            protocol: "http",
            status: 200,
            grpc: None,
            flags: "-",
        }
    }

    #[test]
    fn a_series_is_found_again_and_has_every_label() {
        let cache = SeriesCache::default();
        let id = "spiffe://cluster.local/ns/demo/sa/series".parse().unwrap();
        let baggage = culvert_hbone::headers::Baggage::parse("service.name=curl");
        let labels = SourceLabels::new(&id, baggage.as_ref());
        let source = cache.source(&labels, || labels.clone());
        let named = DestinationLabels {
            service_name: "series-test".into(),
            ..Default::default()
        };
        let destination = cache.destination(&named);
        assert_eq!(destination, cache.destination(&named));
        assert_ne!(
            destination,
            cache.destination(&DestinationLabels::default())
        );
        cache
            .get(key(source, destination))
            .observe(Duration::from_millis(3));
        cache
            .get(key(source, destination))
            .observe(Duration::from_millis(3));
        assert_eq!(cache.values(key(source, destination)).len(), LABELS.len());
        let text = metrics::encode();
        let line = text
            .lines()
            .find(|line| line.starts_with("istio_requests_total") && line.contains("series-test"))
            .unwrap();
        assert!(line.ends_with(" 2"), "{line}");
        for part in [
            "reporter=\"waypoint\"",
            "source_canonical_service=\"curl\"",
            "response_code=\"200\"",
            "destination_workload=\"unknown\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn invented_clients_do_not_make_series_without_bound() {
        let cache = SeriesCache::default();
        let id = "spiffe://cluster.local/ns/demo/sa/liar".parse().unwrap();
        let bare = SourceLabels::new(&id, None);
        let mut last = 0;
        for n in 0..MAX_SOURCES + 100 {
            let baggage = culvert_hbone::headers::Baggage::parse(&format!("service.name=s{n}"));
            let labels = SourceLabels::new(&id, baggage.as_ref());
            last = last.max(cache.source(&labels, || bare.clone()));
        }
        assert_eq!(usize::try_from(last).unwrap(), MAX_SOURCES);
    }
}
