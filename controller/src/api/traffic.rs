//! `TrafficPolicy` and `FaultPolicy`: what a waypoint does with the requests that it forwards. And how policies name what
//! they are for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConsistentHash, Duration, OutlierDetection, Timeouts, ValueMatch, Warmup};

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
    /// Empty for a Service.
    #[serde(default)]
    pub group: String,
    /// `Service`, `HTTPRoute`, `GRPCRoute`, `Gateway`.
    pub kind: String,
    /// In the policy's own namespace.
    pub name: String,
    /// May only repeat the policy's own.
    pub namespace: Option<String>,
    /// Name of a Service's port.
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

/// `spec` of a FaultPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultPolicySpec {
    /// Services and routes of HTTP and gRPC.
    pub target_refs: Vec<TargetRef>,
    /// Which requests; left out: all.
    #[serde(rename = "match", default)]
    pub matches: FaultMatch,
    /// Wait before forwarding.
    #[serde(default)]
    pub delay: Option<Delay>,
    /// Answer instead of forwarding.
    #[serde(default)]
    pub abort: Option<Abort>,
}

/// Which requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FaultMatch {
    /// All must match.
    pub headers: Vec<ValueMatch>,
    /// The caller is one of these.
    pub principals: Vec<String>,
}

/// Wait before forwarding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// Of the requests; left out: all.
    pub percentage: Option<Percentage>,
    /// How long.
    pub fixed_delay: Duration,
}

/// Answer instead of forwarding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Of the requests; left out: all.
    pub percentage: Option<Percentage>,
    /// For HTTP, 200 to 599.
    pub http_status: Option<u16>,
    /// For gRPC, by name or number.
    pub grpc_status: Option<GrpcStatus>,
}

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentage {
    /// 0 to 100 in steps of 0.01.
    pub value: f64,
}

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcStatus(pub u32);

const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl JsonSchema for GrpcStatus {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GrpcStatus".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let numbers = (0..GRPC_STATUS.len()).map(|number| number.to_string());
        let known: Vec<_> = GRPC_STATUS
            .map(str::to_owned)
            .into_iter()
            .chain(numbers)
            .collect();
        schemars::json_schema!({"type": "string", "enum": known})
    }
}

impl<'de> Deserialize<'de> for GrpcStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = GRPC_STATUS.iter().zip(0..);
        let found = known
            .clone()
            .find(|(name, number)| **name == text || number.to_string() == text);
        found.map(|(_, number)| Self(number)).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is no gRPC status such as UNAVAILABLE"))
        })
    }
}
