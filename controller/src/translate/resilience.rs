//! What TrafficPolicies say of single endpoints, and how routes keep sessions: as waypoints are told, with every default
//! filled in.

use culvert_proto::waypoint::{
    ConsistentHash, HashCookie, LoadBalancer, OutlierDetection, Ramp, SessionPersistence,
    SlowEndpoints, SuccessRate, consistent_hash::Key,
};

use super::route::duration;
use crate::admit::{aggression, balance_factor, latency_factor, stdev_factor};
use crate::api::{self, CookieLifetime, LoadBalancerSimple, SessionType};

const SECOND: api::Duration = api::Duration::from_secs(1);

/// How an endpoint is picked.
pub(super) fn load_balancer(
    balancer: Option<&api::LoadBalancer>,
) -> (LoadBalancer, Option<ConsistentHash>) {
    let Some(balancer) = balancer else {
        return (LoadBalancer::Unspecified, None);
    };
    if let Some(hash) = &balancer.consistent_hash {
        return (LoadBalancer::ConsistentHash, Some(consistent_hash(hash)));
    }
    let simple = match balancer.simple {
        None => LoadBalancer::Unspecified,
        Some(LoadBalancerSimple::PeakEwma) => LoadBalancer::PeakEwma,
        Some(LoadBalancerSimple::LeastRequest) => LoadBalancer::LeastRequest,
        Some(LoadBalancerSimple::RoundRobin) => LoadBalancer::RoundRobin,
        Some(LoadBalancerSimple::Random) => LoadBalancer::Random,
    };
    (simple, None)
}

// Numbers were found good when the object was admitted.

fn consistent_hash(hash: &api::ConsistentHash) -> ConsistentHash {
    let cookie = |cookie: &api::HttpCookie| HashCookie {
        name: cookie.name.clone(),
        ttl: cookie.ttl.map(duration),
        path: cookie.path.clone().unwrap_or_default(),
    };
    let header = hash.http_header_name.clone().map(Key::Header);
    let query = hash.http_query_parameter_name.clone();
    let key = header
        .or_else(|| hash.http_cookie.as_ref().map(cookie).map(Key::Cookie))
        .or_else(|| query.map(Key::QueryParameter))
        .unwrap_or(Key::SourceIp(true));
    ConsistentHash {
        key: Some(key),
        balance_factor: balance_factor(hash.balance_factor).unwrap_or_default(),
    }
}

/// How new endpoints come to their share.
pub(super) fn warmup(warmup: &api::Warmup) -> Ramp {
    Ramp {
        duration: Some(duration(warmup.duration)),
        minimum_percent: warmup.minimum_percent.unwrap_or(10),
        aggression: aggression(warmup.aggression).unwrap_or_default(),
    }
}

/// Which endpoints get nothing for a while.
pub(super) fn outlier(outlier: &api::OutlierDetection) -> OutlierDetection {
    let rate = |rate: &api::SuccessRate| SuccessRate {
        minimum_hosts: rate.minimum_hosts.unwrap_or(5),
        request_volume: rate.request_volume.unwrap_or(100),
        stdev_factor: stdev_factor(rate.stdev_factor).unwrap_or_default(),
    };
    let latency = |latency: &api::SlowEndpoints| SlowEndpoints {
        minimum_hosts: latency.minimum_hosts.unwrap_or(3),
        request_volume: latency.request_volume.unwrap_or(100),
        factor: latency_factor(latency.factor).unwrap_or_default(),
        threshold: Some(latency.threshold.map_or(
            prost_types::Duration {
                seconds: 0,
                nanos: 10_000_000,
            },
            duration,
        )),
    };
    let seconds = |given: Option<api::Duration>, default: u64| {
        Some(duration(given.unwrap_or(api::Duration::from_secs(default))))
    };
    OutlierDetection {
        consecutive_5xx_errors: outlier.consecutive_5xx_errors.unwrap_or(5),
        consecutive_gateway_errors: outlier.consecutive_gateway_errors.unwrap_or(0),
        interval: seconds(outlier.interval, 10),
        base_ejection_time: seconds(outlier.base_ejection_time, 30),
        max_ejection_percent: outlier.max_ejection_percent.unwrap_or(10),
        min_health_percent: outlier.min_health_percent.unwrap_or(0),
        success_rate: outlier.success_rate.as_ref().map(rate),
        latency: outlier.latency.as_ref().map(latency),
        r#return: Some(Ramp {
            duration: seconds(outlier.return_duration, 10),
            minimum_percent: 10,
            aggression: 100,
        }),
    }
}

/// How a rule keeps sessions. Less than a second is no timeout that a session could have, so that it becomes one.
pub(super) fn session(session: &api::SessionPersistence) -> SessionPersistence {
    let time = |time: Option<api::Duration>| {
        let time = time.filter(|time| !time.get().is_zero());
        time.map(|time| duration(time.max(SECOND)))
    };
    let lifetime = session.cookie_config.unwrap_or_default().lifetime_type;
    SessionPersistence {
        header: session.kind == SessionType::Header,
        session_name: session.session_name.clone().unwrap_or_default(),
        absolute_timeout: time(session.absolute_timeout),
        idle_timeout: time(session.idle_timeout),
        permanent: lifetime == CookieLifetime::Permanent,
    }
}

#[cfg(test)]
mod tests;
