//! `TrafficPolicy`: what a waypoint does with the requests that it forwards. And how policies name what they are for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConsistentHash, Duration, Locality, OutlierDetection, Timeouts, Warmup};

/// Which workloads of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// All must be there.
    pub match_labels: BTreeMap<String, String>,
}

impl WorkloadSelector {
    /// Whether these labels satisfy it.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// What a policy is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Empty for a Service, `culvert.dev` for a ServiceEntry.
    #[serde(default)]
    pub group: String,
    /// `Service`, `ServiceEntry`, `HTTPRoute`, `GRPCRoute`, `Gateway`.
    pub kind: String,
    /// In the policy's own namespace.
    pub name: String,
    /// May only repeat the policy's own.
    pub namespace: Option<String>,
    /// Name of a port of a Service or ServiceEntry.
    pub section_name: Option<String>,
}

/// `spec` of a TrafficPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicySpec {
    /// Services and routes of HTTP and gRPC.
    pub target_refs: Vec<TargetRef>,
    /// How an endpoint is picked.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    #[serde(default)]
    pub connection_pool: ConnectionPool,
    /// Of a whole request and of one try.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    #[serde(default)]
    pub retries: Option<Retries>,
    /// How many retries there may be in all.
    #[serde(default)]
    pub retry_constraint: Option<RetryConstraint>,
    /// Which endpoints get nothing for a while.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// By load or in turn.
    pub simple: Option<LoadBalancerSimple>,
    /// By a key.
    pub consistent_hash: Option<ConsistentHash>,
    /// How endpoints that appear come to their share.
    pub warmup: Option<Warmup>,
    /// Which endpoints are near.
    pub locality: Option<Locality>,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoadBalancerSimple {
    /// By latency and load.
    PeakEwma,
    /// The less busy of two.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
}

/// Limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionPool {
    /// Of connections.
    pub tcp: TcpPool,
    /// Of requests.
    pub http: HttpPool,
}

/// Limits on connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    /// At once.
    pub max_connections: Option<u32>,
}

/// Limits on requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    /// Waiting for a connection.
    pub http1_max_pending_requests: Option<u32>,
    /// At once.
    pub http2_max_requests: Option<u32>,
}

/// What is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Tries after the first.
    pub attempts: u32,
    /// Names and status codes with commas between them.
    pub retry_on: Option<String>,
    /// Of one try.
    pub per_try_timeout: Option<Duration>,
    /// Before the next try.
    pub backoff: Option<Duration>,
}

/// How many retries there may be in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryConstraint {
    /// A share of the requests.
    pub budget: Option<Budget>,
    /// Always allowed.
    pub min_retry_rate: Option<Rate>,
}

/// A share of the requests of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// 0 to 100.
    pub percent: Option<u32>,
    /// Over which it is counted.
    pub interval: Option<Duration>,
}

/// So many in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// How many.
    pub count: Option<u32>,
    /// In how long.
    pub interval: Option<Duration>,
}
