//! One TrafficPolicy, or one XBackendTrafficPolicy of the Gateway API.

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;

use super::locality::Locality;
use super::persistence::Persistence;
use super::resilience::{HashPolicy, OutlierDetection, ramp};
use super::retry::Retry;
use super::{ConfigError, ServiceRef, decode_all, duration};
use crate::upstream::ramp::Ramp;

/// How services keep sessions.
type Sessions = Vec<(Arc<str>, Arc<Persistence>)>;

/// Settings for the traffic of services and routes.
#[derive(Debug, Clone)]
pub struct TrafficPolicy {
    /// `NAMESPACE/NAME`, of an XBackendTrafficPolicy `XBackendTrafficPolicy/NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// Services that it is for.
    pub services: Vec<ServiceRef>,
    /// Routes that it is for, `NAMESPACE/NAME`.
    pub routes: Vec<String>,
    /// It holds for what goes to its services, and not for what a route takes from them elsewhere.
    pub backend: bool,
    /// How each of its services keeps sessions where routes say nothing.
    pub sessions: Sessions,
    /// Retries.
    pub retry: Option<Arc<Retry>>,
    /// The bound of all retries together.
    pub budget: Option<BudgetSettings>,
    /// Zero: no timeout. Absent: no statement.
    pub request_timeout: Option<Duration>,
    /// Zero: no timeout. Absent: no statement.
    pub backend_timeout: Option<Duration>,
    /// How an endpoint is picked; absent: no statement.
    pub balancer: Option<Balancer>,
    /// Most requests at once to the service.
    pub max_requests: Option<u32>,
    /// Most connections at once to the service, and most requests that wait for one.
    pub connections: Option<(u32, u32)>,
    /// Which endpoints of the service are left out for a while.
    pub outlier: Option<OutlierDetection>,
    /// How new endpoints of the service come to their share.
    pub warmup: Option<Ramp>,
    /// Which endpoints of the service are near.
    pub locality: Option<Locality>,
}

/// Ways to pick an endpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Balancer {
    /// The one with fewer requests in flight of two at random.
    #[default]
    LeastRequest,
    /// The one with the lower expected wait of two at random.
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The same one for requests with the same key.
    ConsistentHash(Arc<HashPolicy>),
}

/// Retries may be at most `percent` of the requests of the last `interval`, and `min` in each `min_interval` besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// 0 to 100.
    pub percent: u32,
    /// Retries that are always allowed ...
    pub min: u32,
    /// ... in so long.
    pub min_interval: Duration,
    /// Over which requests are counted.
    pub interval: Duration,
    /// What it forbids to try again gets 503, instead of the answer as it is.
    pub refuse: bool,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            percent: 20,
            min: 10,
            min_interval: Duration::from_secs(1),
            interval: Duration::from_secs(10),
            refuse: false,
        }
    }
}

impl TrafficPolicy {
    /// Decodes a policy. Settings that this waypoint can't enforce are an error, never ignored.
    pub fn decode(raw: &pb::TrafficPolicy) -> Result<Self, ConfigError> {
        let waiting = if raw.max_pending_requests == 0 {
            u32::MAX
        } else {
            raw.max_pending_requests
        };
        let kind = if raw.backend {
            "XBackendTrafficPolicy/"
        } else {
            ""
        };
        let name: Arc<str> = format!("{kind}{}/{}", raw.namespace, raw.name).into();
        let services = decode_all("targets", &raw.targets, ServiceRef::decode)?;
        Ok(Self {
            sessions: sessions(raw, &name, &services)
                .map_err(|error| error.within("session_persistence"))?,
            name,
            services,
            routes: raw.route_targets.clone(),
            backend: raw.backend,
            retry: raw
                .retry
                .as_ref()
                .map(|retry| Retry::decode(retry).map(Arc::new))
                .transpose()
                .map_err(|error| error.within("retry"))?,
            budget: raw
                .retry_budget
                .as_ref()
                .map(BudgetSettings::decode)
                .transpose()
                .map_err(|error| error.within("retry_budget"))?,
            request_timeout: duration("request_timeout", raw.request_timeout.as_ref())?,
            backend_timeout: duration(
                "backend_request_timeout",
                raw.backend_request_timeout.as_ref(),
            )?,
            balancer: balancer(raw)?,
            max_requests: (raw.max_requests != 0).then_some(raw.max_requests),
            connections: (raw.max_connections != 0).then_some((raw.max_connections, waiting)),
            outlier: raw
                .outlier_detection
                .as_ref()
                .map(OutlierDetection::decode)
                .transpose()
                .map_err(|error| error.within("outlier_detection"))?,
            warmup: raw
                .warmup
                .as_ref()
                .map(ramp)
                .transpose()
                .map_err(|error| error.within("warmup"))?,
            locality: raw
                .locality
                .as_ref()
                .map(Locality::decode)
                .transpose()
                .map_err(|error| error.within("locality"))?,
        })
    }
}

/// Sessions of each service by themselves: a cookie of one says nothing to another.
fn sessions(
    raw: &pb::TrafficPolicy,
    name: &str,
    services: &[ServiceRef],
) -> Result<Sessions, ConfigError> {
    let Some(session) = &raw.session_persistence else {
        return Ok(Vec::new());
    };
    let of = |at: &ServiceRef| {
        let owner = format!("{name}/{}", at.service);
        let persistence = Persistence::decode(session, &owner, "/")?;
        Ok((Arc::clone(&at.service), persistence))
    };
    services.iter().map(of).collect()
}

fn balancer(raw: &pb::TrafficPolicy) -> Result<Option<Balancer>, ConfigError> {
    use pb::LoadBalancer as Raw;
    match Raw::try_from(raw.load_balancer) {
        Ok(Raw::Unspecified) => Ok(None),
        Ok(Raw::LeastRequest) => Ok(Some(Balancer::LeastRequest)),
        Ok(Raw::PeakEwma) => Ok(Some(Balancer::PeakEwma)),
        Ok(Raw::RoundRobin) => Ok(Some(Balancer::RoundRobin)),
        Ok(Raw::Random) => Ok(Some(Balancer::Random)),
        Ok(Raw::ConsistentHash) => {
            let hash = raw.consistent_hash.as_ref();
            let missing = || ConfigError::new("consistent_hash", "is missing");
            let policy = HashPolicy::decode(hash.ok_or_else(missing)?)
                .map_err(|error| error.within("consistent_hash"))?;
            Ok(Some(Balancer::ConsistentHash(policy)))
        }
        Err(_) => Err(ConfigError::new(
            "load_balancer",
            format!("{} is not a known one", raw.load_balancer),
        )),
    }
}

impl BudgetSettings {
    fn decode(raw: &pb::RetryBudget) -> Result<Self, ConfigError> {
        if raw.percent > 100 {
            return Err(ConfigError::new(
                "percent",
                format!("{} is more than 100", raw.percent),
            ));
        }
        let interval =
            duration("interval", raw.interval.as_ref())?.unwrap_or(Self::default().interval);
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&interval) {
            return Err(ConfigError::new("interval", "is not from 10 ms to 1 h"));
        }
        let min_interval = duration("min_interval", raw.min_interval.as_ref())?;
        let min_interval = min_interval.unwrap_or(Self::default().min_interval);
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&min_interval) {
            return Err(ConfigError::new("min_interval", "is not from 1 ms to 1 h"));
        }
        Ok(Self {
            percent: raw.percent,
            min: raw.min_per_second,
            min_interval,
            interval,
            refuse: raw.refuse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_settings_are_errors() {
        let refused = |raw: pb::TrafficPolicy| TrafficPolicy::decode(&raw).unwrap_err().to_string();
        assert_eq!(
            refused(pb::TrafficPolicy {
                load_balancer: pb::LoadBalancer::ConsistentHash.into(),
                ..Default::default()
            }),
            "consistent_hash: is missing"
        );
        assert_eq!(
            refused(pb::TrafficPolicy {
                load_balancer: 99,
                ..Default::default()
            }),
            "load_balancer: 99 is not a known one"
        );
        let hash = |key, balance_factor| pb::TrafficPolicy {
            load_balancer: pb::LoadBalancer::ConsistentHash.into(),
            consistent_hash: Some(pb::ConsistentHash {
                key,
                balance_factor,
            }),
            ..Default::default()
        };
        let key = |name: &str| Some(pb::consistent_hash::Key::Header(name.into()));
        assert_eq!(refused(hash(None, 125)), "consistent_hash.key: is missing");
        assert!(refused(hash(key("a b"), 125)).starts_with("consistent_hash.header: "));
        assert_eq!(
            refused(hash(key("a"), 99)),
            "consistent_hash.balance_factor: 99 hundredths is not from 1 to 100"
        );
        let outlier = pb::TrafficPolicy {
            outlier_detection: Some(pb::OutlierDetection::default()),
            ..Default::default()
        };
        assert_eq!(
            refused(outlier),
            "outlier_detection.interval: is not 1 ms or more"
        );
        let budget = pb::RetryBudget {
            percent: 101,
            ..Default::default()
        };
        assert_eq!(
            refused(pb::TrafficPolicy {
                retry_budget: Some(budget),
                ..Default::default()
            }),
            "retry_budget.percent: 101 is more than 100"
        );
    }

    #[test]
    fn absent_fields_say_nothing() {
        let policy = TrafficPolicy::decode(&pb::TrafficPolicy::default()).unwrap();
        assert_eq!(
            (policy.balancer, policy.max_requests, policy.request_timeout),
            (None, None, None)
        );
        assert!(policy.retry.is_none() && policy.budget.is_none());
        assert!(policy.sessions.is_empty() && !policy.backend);
    }
}
