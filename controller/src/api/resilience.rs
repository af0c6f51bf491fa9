//! What a TrafficPolicy says of single endpoints, and how a route keeps sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// Which endpoints get nothing for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Server errors in a row; failed connections and resets count as well. 0: don't count. Left out: 5.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Failed connections, resets, 502, 503 and 504 in a row. 0 or left out: don't count.
    pub consecutive_gateway_errors: Option<u32>,
    /// How often endpoints are compared. Left out: 10s.
    pub interval: Option<Duration>,
    /// The first time; the nth time in short order n times as long, at most 300s. Left out: 30s.
    pub base_ejection_time: Option<Duration>,
    /// Of the endpoints, at most so many; one of several may always be. Left out: 10.
    pub max_ejection_percent: Option<u32>,
    /// With fewer than these left all are used. Left out: 0, never.
    pub min_health_percent: Option<u32>,
    /// Endpoints that succeed less often than the others.
    pub success_rate: Option<SuccessRate>,
    /// Endpoints that take longer than the others.
    pub latency: Option<SlowEndpoints>,
    /// How long an endpoint that returns takes to its whole share. Left out: 10s. 0s: at once.
    pub return_duration: Option<Duration>,
}

/// Endpoints that succeed less often than the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRate {
    /// With enough requests. Left out: 5.
    pub minimum_hosts: Option<u32>,
    /// What is enough in an interval. Left out: 100.
    pub request_volume: Option<u32>,
    /// Standard deviations below the mean. Left out: 1.9.
    pub stdev_factor: Option<f64>,
}

/// Endpoints that take longer than the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SlowEndpoints {
    /// With enough requests. Left out: 3.
    pub minimum_hosts: Option<u32>,
    /// What is enough in an interval. Left out: 100.
    pub request_volume: Option<u32>,
    /// Times the median of the others. Left out: 3.
    pub factor: Option<f64>,
    /// Faster than this is never too slow. Left out: 10ms.
    pub threshold: Option<Duration>,
}

/// How endpoints that appear come to their share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long it takes.
    pub duration: Duration,
    /// The share at the beginning. Left out: 10.
    pub minimum_percent: Option<u32>,
    /// 1, if left out, is a straight line; more is faster at first.
    pub aggression: Option<f64>,
}

/// Requests with the same key go to the same endpoint. One of the first four.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHash {
    /// The value of a header.
    pub http_header_name: Option<String>,
    /// The value of a cookie, which is set where there is none.
    pub http_cookie: Option<HttpCookie>,
    /// The client's identity and address.
    pub use_source_ip: Option<bool>,
    /// The value of a query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Times the mean that an endpoint may have in flight. Left out: 1.25.
    pub balance_factor: Option<f64>,
}

/// A cookie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpCookie {
    /// Its name.
    pub name: String,
    /// Left out or 0s: until the browser's session ends.
    pub ttl: Option<Duration>,
    /// For which paths.
    pub path: Option<String>,
}

/// Requests of a session go to one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPersistence {
    /// Of the cookie or header.
    pub session_name: Option<String>,
    /// After it began.
    pub absolute_timeout: Option<Duration>,
    /// After its last request.
    pub idle_timeout: Option<Duration>,
    /// Where the client keeps it.
    #[serde(rename = "type")]
    pub kind: SessionType,
    /// Of a cookie.
    pub cookie_config: Option<CookieConfig>,
}

/// Where a client keeps its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionType {
    /// In a cookie.
    #[default]
    Cookie,
    /// In a header, which it sends as it got it.
    Header,
}

/// Of a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// How long browsers keep it.
    pub lifetime_type: CookieLifetime,
}

/// How long browsers keep a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetime {
    /// As long as their own session.
    #[default]
    Session,
    /// As long as the session lasts.
    Permanent,
}
