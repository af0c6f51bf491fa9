//! `FaultPolicy`: the failures that users ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, TargetRef, Time, ValueMatch, WorkloadSelector};

/// `spec` of a FaultPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultPolicySpec {
    /// Services and routes of HTTP and gRPC.
    #[serde(default)]
    pub target_refs: Vec<TargetRef>,
    /// For `tcp` alone, in place of `targetRefs`: every connection to these workloads of the policy's namespace.
    #[serde(default)]
    pub selector: Option<WorkloadSelector>,
    /// Which requests or connections; left out: all.
    #[serde(rename = "match", default)]
    pub matches: FaultMatch,
    /// Wait before forwarding a request.
    #[serde(default)]
    pub delay: Option<Delay>,
    /// Answer a request instead of forwarding it.
    #[serde(default)]
    pub abort: Option<Abort>,
    /// What happens to connections, at the node of the pod that they reach.
    #[serde(default)]
    pub tcp: Option<TcpFault>,
    /// When it begins; left out: when the object was created.
    #[serde(default)]
    pub start_time: Option<Time>,
    /// How long after its beginning it ends by itself; left out: never.
    #[serde(default)]
    pub duration: Option<Duration>,
}

/// Which requests or connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FaultMatch {
    /// All must match. Connections have none.
    pub headers: Vec<ValueMatch>,
    /// The caller is one of these.
    pub principals: Vec<String>,
}

/// Wait: one of `fixedDelay`, `uniform`, `normal`, `exponential`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Delay {
    /// Of the requests or connections; left out: all.
    pub percentage: Option<Percentage>,
    /// Always so long.
    pub fixed_delay: Option<Duration>,
    /// Anything between two bounds.
    pub uniform: Option<Uniform>,
    /// Normally distributed.
    pub normal: Option<Normal>,
    /// Exponentially distributed.
    pub exponential: Option<Exponential>,
}

/// Anything between two bounds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Uniform {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// Normally distributed, without what is below zero or above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Normal {
    /// Of the whole distribution.
    pub mean: Duration,
    /// Standard deviation of the whole distribution.
    pub std_dev: Duration,
    /// The longest.
    pub max: Duration,
}

/// Exponentially distributed, without what is above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exponential {
    /// Of the whole distribution.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
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

/// What happens to connections. Each is rolled for by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpFault {
    /// Wait before the application is dialled.
    pub delay: Option<Delay>,
    /// Reset the connection.
    pub reset: Option<Reset>,
    /// Take the connection and let no byte through.
    pub blackhole: Option<Blackhole>,
    /// Let bytes through no faster than this.
    pub throttle: Option<Throttle>,
}

/// Reset the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reset {
    /// Of the connections; left out: all.
    pub percentage: Option<Percentage>,
    /// Once so many bytes went through, both directions together; left out: at once.
    pub after_bytes: Option<u32>,
}

/// Take the connection and let no byte through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Blackhole {
    /// Of the connections; left out: all.
    pub percentage: Option<Percentage>,
}

/// Let bytes through no faster than this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throttle {
    /// Of the connections; left out: all.
    pub percentage: Option<Percentage>,
    /// Of one connection, each direction by itself.
    pub bytes_per_second: u32,
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
