//! What TrafficPolicies say of single endpoints, and how routes keep sessions.

use super::http_filter::header_name;
use super::locality;
use crate::api::{
    ConsistentHash, CookieLifetime, Duration, HttpCookie, LoadBalancer, OutlierDetection,
    SessionPersistence, SessionType, TrafficPolicySpec,
};
use crate::path::{FieldPath, Issues};

/// Hundredths of a number in a range.
pub(crate) fn hundredths(value: f64, least: f64, most: f64) -> Result<u32, String> {
    if !(least..=most).contains(&value) {
        return Err(format!("{value} is not between {least} and {most}"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked, and all are far below the type's"
    )]
    Ok((value * 100.0).round() as u32)
}

/// Standard deviations.
pub(crate) fn stdev_factor(value: Option<f64>) -> Result<u32, String> {
    hundredths(value.unwrap_or(1.9), 0.0, 100.0)
}

/// Times the median.
pub(crate) fn latency_factor(value: Option<f64>) -> Result<u32, String> {
    hundredths(value.unwrap_or(3.0), 1.01, 1000.0)
}

/// Times the mean.
pub(crate) fn balance_factor(value: Option<f64>) -> Result<u32, String> {
    hundredths(value.unwrap_or(1.25), 1.0, 100.0)
}

/// How fast at first.
pub(crate) fn aggression(value: Option<f64>) -> Result<u32, String> {
    hundredths(value.unwrap_or(1.0), 0.1, 100.0)
}

/// What holds for a service as a whole needs one.
pub(super) fn check_of_service(spec: &TrafficPolicySpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    let balancer = spec.load_balancer.as_ref();
    let warmup = balancer.and_then(|balancer| balancer.warmup.as_ref());
    let locality = balancer.and_then(|balancer| balancer.locality.as_ref());
    let given = [
        (spec.outlier_detection.is_some(), at.key("outlierDetection")),
        (warmup.is_some(), at.key("loadBalancer").key("warmup")),
        (locality.is_some(), at.key("loadBalancer").key("locality")),
    ];
    let services = spec
        .target_refs
        .iter()
        .any(|target| matches!(target.kind.as_str(), "Service" | "ServiceEntry"));
    for (_, at) in given.into_iter().filter(|(given, _)| *given && !services) {
        issues.add(at, "holds for Services, of which targetRefs names none");
    }
}

pub(super) fn check_load_balancer(balancer: &LoadBalancer, at: &FieldPath, issues: &mut Issues) {
    let hash = balancer.consistent_hash.as_ref();
    if balancer.simple.is_some() && hash.is_some() {
        issues.add(at.key("consistentHash"), "is there beside simple");
    }
    let nothing = balancer.simple.is_none() && hash.is_none();
    if nothing && balancer.warmup.is_none() && balancer.locality.is_none() {
        let message = "has none of simple, consistentHash, warmup, locality";
        issues.add(at.clone(), message);
    }
    if let Some(locality) = &balancer.locality {
        locality::check(locality, &at.key("locality"), issues);
    }
    if let Some(hash) = hash {
        check_hash(hash, &at.key("consistentHash"), issues);
    }
    if let Some(warmup) = &balancer.warmup {
        let at = at.key("warmup");
        not_zero(Some(warmup.duration), &at.key("duration"), issues);
        let minimum = warmup.minimum_percent.unwrap_or(10);
        if !(1..=100).contains(&minimum) {
            let message = format!("{minimum} is not between 1 and 100");
            issues.add(at.key("minimumPercent"), message);
        }
        issues.take(&at.key("aggression"), aggression(warmup.aggression));
    }
}

fn check_hash(hash: &ConsistentHash, at: &FieldPath, issues: &mut Issues) {
    let keys = [
        hash.http_header_name.is_some(),
        hash.http_cookie.is_some(),
        hash.use_source_ip == Some(true),
        hash.http_query_parameter_name.is_some(),
    ];
    if keys.into_iter().filter(|given| *given).count() != 1 {
        let message = "needs one of httpHeaderName, httpCookie, useSourceIp: true, \
                       httpQueryParameterName";
        issues.add(at.clone(), message);
    }
    if let Some(name) = &hash.http_header_name {
        issues.take(&at.key("httpHeaderName"), header_name(name));
    }
    if let Some(cookie) = &hash.http_cookie {
        check_cookie(cookie, &at.key("httpCookie"), issues);
    }
    if hash.http_query_parameter_name.as_deref() == Some("") {
        issues.add(at.key("httpQueryParameterName"), "is empty");
    }
    issues.take(
        &at.key("balanceFactor"),
        balance_factor(hash.balance_factor),
    );
}

fn check_cookie(cookie: &HttpCookie, at: &FieldPath, issues: &mut Issues) {
    // The same letters as a header's name has.
    issues.take(&at.key("name"), header_name(&cookie.name));
    let Some(path) = &cookie.path else { return };
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b';';
    if !path.starts_with('/') || !path.bytes().all(plain) {
        let message = format!("{path:?} is no path of a cookie: /, and no ; or other than ASCII");
        issues.add(at.key("path"), message);
    }
}

pub(super) fn check_outlier(outlier: &OutlierDetection, at: &FieldPath, issues: &mut Issues) {
    not_zero(outlier.interval, &at.key("interval"), issues);
    not_zero(
        outlier.base_ejection_time,
        &at.key("baseEjectionTime"),
        issues,
    );
    for (member, percent) in [
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ] {
        if percent.is_some_and(|percent| percent > 100) {
            issues.add(at.key(member), "is more than 100");
        }
    }
    if let Some(rate) = &outlier.success_rate {
        let factor = stdev_factor(rate.stdev_factor);
        issues.take(&at.key("successRate").key("stdevFactor"), factor);
    }
    if let Some(latency) = &outlier.latency {
        let factor = latency_factor(latency.factor);
        issues.take(&at.key("latency").key("factor"), factor);
    }
}

fn not_zero(duration: Option<Duration>, at: &FieldPath, issues: &mut Issues) {
    if duration.is_some_and(|duration| duration.get().is_zero()) {
        issues.add(at.clone(), "is zero");
    }
}

/// How a rule keeps sessions.
pub(super) fn check_session(session: &SessionPersistence, at: &FieldPath, issues: &mut Issues) {
    let cookie = session.cookie_config.is_some();
    if let Some(name) = &session.session_name {
        let at = at.key("sessionName");
        if name.len() > 128 {
            issues.add(at, "is longer than 128 characters");
        } else {
            issues.take(&at, header_name(name));
        }
    }
    if session.kind == SessionType::Header && cookie {
        issues.add(at.key("cookieConfig"), "is for sessions of type Cookie");
    }
    let permanent = CookieLifetime::Permanent;
    let permanent = session
        .cookie_config
        .is_some_and(|cookie| cookie.lifetime_type == permanent);
    let lasting = session
        .absolute_timeout
        .filter(|time| !time.get().is_zero());
    if permanent && lasting.is_none() {
        let message = "is needed for a cookie whose lifetimeType is Permanent";
        issues.add(at.key("absoluteTimeout"), message);
    }
}
