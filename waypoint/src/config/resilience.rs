//! What a TrafficPolicy says of single endpoints: who is left out for a while, who gets less than its share, whose keys
//! are whose.

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;
use http::HeaderName;

use super::{ConfigError, duration};
use crate::upstream::ramp::Ramp;

/// Which endpoints are left out for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierDetection {
    /// Server errors in a row; 0 does not count.
    pub consecutive_5xx: u32,
    /// Failed connections, resets and 502, 503, 504 in a row; 0 does not count.
    pub consecutive_gateway: u32,
    /// How often rates are compared.
    pub interval: Duration,
    /// How long an endpoint is left out the first time.
    pub base_ejection: Duration,
    /// Of all endpoints, how many may be left out.
    pub max_ejection_percent: u32,
    /// With fewer than these left in, all are used.
    pub min_health_percent: u32,
    /// Compares how many requests succeed.
    pub success_rate: Option<SuccessRate>,
    /// Compares how long answers take.
    pub latency: Option<SlowEndpoints>,
    /// How an endpoint comes back.
    pub returning: Ramp,
}

/// Who succeeds less often than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// Endpoints with enough requests, at least.
    pub hosts: usize,
    /// What is enough in an interval.
    pub volume: u32,
    /// Standard deviations below the mean.
    pub stdev_factor: f64,
}

/// Who takes longer than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowEndpoints {
    /// Endpoints with enough requests, at least.
    pub hosts: usize,
    /// What is enough in an interval.
    pub volume: u32,
    /// Times the median of the others.
    pub factor: f64,
    /// Faster than this is never too slow.
    pub threshold: Duration,
}

/// How keys are given to endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct HashPolicy {
    /// What the key is.
    pub key: HashKey,
    /// Times its share that an endpoint may have in flight, 1 or more.
    pub balance: f32,
}

/// What requests with the same endpoint have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// All lines of a header.
    Header(HeaderName),
    /// A cookie, which is made where there is none.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// Zero: until the browser's session ends.
        ttl: Duration,
        /// Empty: none is said.
        path: Box<str>,
    },
    /// The client's identity and address.
    Source,
    /// The first query parameter of this name.
    Query(Box<str>),
}

impl OutlierDetection {
    pub(super) fn decode(raw: &pb::OutlierDetection) -> Result<Self, ConfigError> {
        Ok(Self {
            consecutive_5xx: raw.consecutive_5xx_errors,
            consecutive_gateway: raw.consecutive_gateway_errors,
            interval: positive("interval", raw.interval.as_ref())?,
            base_ejection: positive("base_ejection_time", raw.base_ejection_time.as_ref())?,
            max_ejection_percent: percent("max_ejection_percent", raw.max_ejection_percent)?,
            min_health_percent: percent("min_health_percent", raw.min_health_percent)?,
            success_rate: raw.success_rate.as_ref().map(SuccessRate::decode),
            latency: raw
                .latency
                .as_ref()
                .map(SlowEndpoints::decode)
                .transpose()
                .map_err(|error| error.within("latency"))?,
            returning: raw
                .r#return
                .as_ref()
                .ok_or_else(|| ConfigError::new("return", "is missing"))
                .and_then(ramp)
                .map_err(|error| error.within("return"))?,
        })
    }
}

impl SuccessRate {
    fn decode(raw: &pb::SuccessRate) -> Self {
        Self {
            hosts: hosts(raw.minimum_hosts),
            volume: raw.request_volume.max(1),
            stdev_factor: f64::from(raw.stdev_factor) / 100.0,
        }
    }
}

impl SlowEndpoints {
    fn decode(raw: &pb::SlowEndpoints) -> Result<Self, ConfigError> {
        if raw.factor <= 100 {
            let message = format!("{} hundredths is not more than 1", raw.factor);
            return Err(ConfigError::new("factor", message));
        }
        Ok(Self {
            hosts: hosts(raw.minimum_hosts),
            volume: raw.request_volume.max(1),
            factor: f64::from(raw.factor) / 100.0,
            threshold: duration("threshold", raw.threshold.as_ref())?.unwrap_or_default(),
        })
    }
}

impl HashPolicy {
    pub(super) fn decode(raw: &pb::ConsistentHash) -> Result<Arc<Self>, ConfigError> {
        use pb::consistent_hash::Key;
        let key = match &raw.key {
            Some(Key::Header(name)) => {
                let name = HeaderName::try_from(name.as_str());
                HashKey::Header(name.map_err(|e| ConfigError::new("header", e.to_string()))?)
            }
            Some(Key::Cookie(cookie)) => HashKey::Cookie {
                name: cookie_name(&cookie.name)
                    .map_err(|error| error.within("cookie"))?
                    .into(),
                ttl: duration("cookie.ttl", cookie.ttl.as_ref())?.unwrap_or_default(),
                path: cookie_path(&cookie.path)
                    .map_err(|error| error.within("cookie"))?
                    .into(),
            },
            Some(Key::SourceIp(_)) => HashKey::Source,
            Some(Key::QueryParameter(name)) => HashKey::Query(name.as_str().into()),
            None => return Err(ConfigError::new("key", "is missing")),
        };
        if !(100..=10_000).contains(&raw.balance_factor) {
            let message = format!("{} hundredths is not from 1 to 100", raw.balance_factor);
            return Err(ConfigError::new("balance_factor", message));
        }
        // At most 10,000, which an f32 holds exactly.
        let balance = f32::from(u16::try_from(raw.balance_factor).unwrap_or(u16::MAX)) / 100.0;
        Ok(Arc::new(Self { key, balance }))
    }
}

/// How an endpoint comes to its share.
pub(super) fn ramp(raw: &pb::Ramp) -> Result<Ramp, ConfigError> {
    let minimum = percent("minimum_percent", raw.minimum_percent)?.max(1);
    let aggression = u16::try_from(raw.aggression).unwrap_or_default();
    if !(10..=10_000).contains(&aggression) {
        let message = format!("{} hundredths is not from 0.1 to 100", raw.aggression);
        return Err(ConfigError::new("aggression", message));
    }
    Ok(Ramp {
        duration: duration("duration", raw.duration.as_ref())?.unwrap_or_default(),
        minimum: f32::from(u8::try_from(minimum).unwrap_or(100)) / 100.0,
        aggression: f32::from(aggression) / 100.0,
    })
}

/// A name that a cookie can have.
pub(super) fn cookie_name(name: &str) -> Result<&str, ConfigError> {
    // The same letters as a header's name has.
    let token = http::HeaderName::try_from(name).is_ok();
    let wrong = || ConfigError::new("name", format!("`{name}` is no name of a cookie"));
    token.then_some(name).ok_or_else(wrong)
}

/// A path that a cookie can have, or none.
pub(super) fn cookie_path(path: &str) -> Result<&str, ConfigError> {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b';';
    let good = path.is_empty() || path.starts_with('/') && path.bytes().all(plain);
    let wrong = || ConfigError::new("path", format!("`{path}` is no path of a cookie"));
    good.then_some(path).ok_or_else(wrong)
}

fn hosts(raw: u32) -> usize {
    usize::try_from(raw).unwrap_or(usize::MAX).max(2)
}

fn percent(field: &str, raw: u32) -> Result<u32, ConfigError> {
    let wrong = || ConfigError::new(field, format!("{raw} is more than 100"));
    (raw <= 100).then_some(raw).ok_or_else(wrong)
}

fn positive(field: &str, raw: Option<&prost_types::Duration>) -> Result<Duration, ConfigError> {
    let given = duration(field, raw)?.filter(|given| *given >= Duration::from_millis(1));
    given.ok_or_else(|| ConfigError::new(field, "is not 1 ms or more"))
}
