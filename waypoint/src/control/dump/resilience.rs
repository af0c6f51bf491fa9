//! What policies say of single endpoints, and how routes keep sessions.

use culvert_proto::waypoint as pb;
use serde_json::Value;

use super::{duration, locality, number, object, some, text};

/// How an endpoint is picked.
pub(super) fn load_balancer(raw: &pb::TrafficPolicy) -> Value {
    let simple = match raw.load_balancer() {
        pb::LoadBalancer::Unspecified | pb::LoadBalancer::ConsistentHash => Value::Null,
        other => other.as_str_name().into(),
    };
    object([
        ("simple", simple),
        ("consistentHash", some(raw.consistent_hash.as_ref(), hash)),
        ("warmup", some(raw.warmup.as_ref(), ramp)),
        ("locality", some(raw.locality.as_ref(), locality::policy)),
    ])
}

fn hash(raw: &pb::ConsistentHash) -> Value {
    use pb::consistent_hash::Key;
    let (mut header, mut cookie, mut source, mut query) = Default::default();
    match &raw.key {
        Some(Key::Header(name)) => header = text(name),
        Some(Key::Cookie(raw)) => {
            cookie = object([
                ("name", text(&raw.name)),
                ("ttl", duration(raw.ttl.as_ref())),
                ("path", text(&raw.path)),
            ]);
        }
        Some(Key::SourceIp(_)) => source = Value::Bool(true),
        Some(Key::QueryParameter(name)) => query = text(name),
        None => {}
    }
    object([
        ("httpHeaderName", header),
        ("httpCookie", cookie),
        ("useSourceIp", source),
        ("httpQueryParameterName", query),
        ("balanceFactor", hundredths(raw.balance_factor)),
    ])
}

/// Which endpoints get nothing for a while.
pub(super) fn outlier(raw: &pb::OutlierDetection) -> Value {
    let rate = |raw: &pb::SuccessRate| {
        object([
            ("minimumHosts", number(raw.minimum_hosts)),
            ("requestVolume", number(raw.request_volume)),
            ("stdevFactor", hundredths(raw.stdev_factor)),
        ])
    };
    let latency = |raw: &pb::SlowEndpoints| {
        object([
            ("minimumHosts", number(raw.minimum_hosts)),
            ("requestVolume", number(raw.request_volume)),
            ("factor", hundredths(raw.factor)),
            ("threshold", duration(raw.threshold.as_ref())),
        ])
    };
    object([
        ("consecutive5xxErrors", raw.consecutive_5xx_errors.into()),
        (
            "consecutiveGatewayErrors",
            raw.consecutive_gateway_errors.into(),
        ),
        ("interval", duration(raw.interval.as_ref())),
        (
            "baseEjectionTime",
            duration(raw.base_ejection_time.as_ref()),
        ),
        ("maxEjectionPercent", raw.max_ejection_percent.into()),
        ("minHealthPercent", raw.min_health_percent.into()),
        ("successRate", some(raw.success_rate.as_ref(), rate)),
        ("latency", some(raw.latency.as_ref(), latency)),
        ("return", some(raw.r#return.as_ref(), ramp)),
    ])
}

fn ramp(raw: &pb::Ramp) -> Value {
    object([
        ("duration", duration(raw.duration.as_ref())),
        ("minimumPercent", number(raw.minimum_percent)),
        ("aggression", hundredths(raw.aggression)),
    ])
}

/// How a rule keeps sessions.
pub(super) fn session(raw: &pb::SessionPersistence) -> Value {
    let (kind, lifetime) = match (raw.header, raw.permanent) {
        (true, _) => ("Header", Value::Null),
        (false, true) => ("Cookie", "Permanent".into()),
        (false, false) => ("Cookie", "Session".into()),
    };
    object([
        ("type", kind.into()),
        ("sessionName", text(&raw.session_name)),
        ("absoluteTimeout", duration(raw.absolute_timeout.as_ref())),
        ("idleTimeout", duration(raw.idle_timeout.as_ref())),
        ("lifetimeType", lifetime),
    ])
}

fn hundredths(raw: u32) -> Value {
    (f64::from(raw) / 100.0).into()
}
