//! Routes and policies as JSON that reads like the YAML they come from.

use std::time::{Duration, SystemTime};

use culvert_proto::waypoint as pb;
use serde_json::{Map, Value, json};

use crate::config::certificate::Certificate;
mod backend_tls;
pub(super) mod locality;
mod resilience;

pub(super) use backend_tls::backend_tls;

/// An HTTPRoute.
pub(super) fn route(raw: &pb::HttpRoute) -> Value {
    let rule = |rule: &pb::HttpRule| {
        object([
            ("name", text(&rule.name)),
            ("matches", list(&rule.matches, one_match)),
            ("filters", list(&rule.filters, filter)),
            ("backendRefs", list(&rule.backends, backend)),
            (
                "timeouts",
                timeouts(
                    rule.request_timeout.as_ref(),
                    rule.backend_request_timeout.as_ref(),
                ),
            ),
            ("retry", rule.retry.as_ref().map_or(Value::Null, retry)),
            (
                "sessionPersistence",
                some(rule.session_persistence.as_ref(), resilience::session),
            ),
        ])
    };
    object([
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("creationTimestamp", text(&raw.created)),
        ("parentRefs", parents(&raw.parents, &raw.listeners)),
        ("hostnames", list(&raw.hostnames, |name| text(name))),
        ("rules", list(&raw.rules, rule)),
    ])
}

/// A TLSRoute or a TCPRoute.
pub(super) fn stream(raw: &pb::StreamRoute) -> Value {
    object([
        ("kind", if raw.tls { "TLSRoute" } else { "TCPRoute" }.into()),
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("creationTimestamp", text(&raw.created)),
        ("parentRefs", parents(&raw.parents, &raw.listeners)),
        ("hostnames", list(&raw.hostnames, |name| text(name))),
        ("backendRefs", list(&raw.backends, backend)),
    ])
}

/// A Gateway with listeners of its own.
pub(super) fn gateway(raw: &pb::Gateway) -> Value {
    let listener = |listener: &pb::Listener| {
        object([
            ("name", text(&listener.name)),
            ("port", listener.port.into()),
            ("protocol", listener.protocol().as_str_name().into()),
            ("hostname", text(&listener.hostname)),
            (
                "certificateRefs",
                list(&listener.certificates, |name| text(name)),
            ),
            (
                "clientValidation",
                match listener.client_validation {
                    0 => Value::Null,
                    number => number.into(),
                },
            ),
            ("unresolved", text(&listener.unresolved)),
            ("oneLabel", flag(listener.one_label)),
        ])
    };
    object([
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("listeners", list(&raw.listeners, listener)),
        (
            "clientValidations",
            list(&raw.client_validations, |one| {
                object([
                    ("authorities", text(&one.authorities)),
                    ("allowInsecureFallback", one.allow_insecure_fallback.into()),
                ])
            }),
        ),
        (
            "authorizations",
            list(&raw.authorizations, |name| text(name)),
        ),
        ("clientCertificateRef", text(&raw.client_certificate)),
        (
            "clientCertificateUnresolved",
            text(&raw.client_certificate_unresolved),
        ),
    ])
}

/// A listener's certificate: which one, and until when. Never its key.
pub(super) fn certificate(name: &str, certificate: &Certificate) -> Value {
    let ends = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH);
    object([
        ("name", text(name)),
        ("serial", text(&certificate.serial)),
        (
            "not_after",
            ends.map_or(Value::Null, |ends| ends.as_secs().into()),
        ),
    ])
}

/// A TrafficPolicy, or an XBackendTrafficPolicy.
pub(super) fn traffic(raw: &pb::TrafficPolicy) -> Value {
    let budget = |budget: &pb::RetryBudget| {
        object([
            ("percent", budget.percent.into()),
            ("minPerSecond", budget.min_per_second.into()),
            ("minInterval", duration(budget.min_interval.as_ref())),
            ("interval", duration(budget.interval.as_ref())),
            (
                "refuse",
                some(budget.refuse.then_some(&true), |refuse| (*refuse).into()),
            ),
        ])
    };
    let kind = if raw.backend {
        "XBackendTrafficPolicy"
    } else {
        ""
    };
    object([
        ("kind", text(kind)),
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("targetRefs", targets(&raw.targets, &raw.route_targets)),
        ("retry", raw.retry.as_ref().map_or(Value::Null, retry)),
        (
            "retryBudget",
            raw.retry_budget.as_ref().map_or(Value::Null, budget),
        ),
        (
            "timeouts",
            timeouts(
                raw.request_timeout.as_ref(),
                raw.backend_request_timeout.as_ref(),
            ),
        ),
        ("loadBalancer", resilience::load_balancer(raw)),
        (
            "outlierDetection",
            some(raw.outlier_detection.as_ref(), resilience::outlier),
        ),
        (
            "sessionPersistence",
            some(raw.session_persistence.as_ref(), resilience::session),
        ),
        ("maxRequests", number(raw.max_requests)),
        ("maxConnections", number(raw.max_connections)),
        ("maxPendingRequests", number(raw.max_pending_requests)),
    ])
}

/// A FaultPolicy, and how much of its term is left.
pub(super) fn fault(raw: &pb::FaultPolicy, left: Option<Duration>) -> Value {
    let delay = |delay: &pb::FaultDelay| {
        let uniform = delay.uniform.as_ref().map(|uniform| {
            object([
                ("min", duration(uniform.min.as_ref())),
                ("max", duration(uniform.max.as_ref())),
            ])
        });
        let normal = delay.normal.as_ref().map(|normal| {
            object([
                ("mean", duration(normal.mean.as_ref())),
                ("stdDev", duration(normal.std_dev.as_ref())),
                ("max", duration(normal.max.as_ref())),
            ])
        });
        let exponential = delay.exponential.as_ref().map(|exponential| {
            object([
                ("mean", duration(exponential.mean.as_ref())),
                ("max", duration(exponential.max.as_ref())),
            ])
        });
        object([
            ("fixed", duration(delay.fixed.as_ref())),
            ("uniform", uniform.unwrap_or_default()),
            ("normal", normal.unwrap_or_default()),
            ("exponential", exponential.unwrap_or_default()),
            ("perTenThousand", delay.per_ten_thousand.into()),
        ])
    };
    let abort = |abort: &pb::FaultAbort| {
        object([
            ("httpStatus", number(abort.http_status)),
            (
                "grpcStatus",
                if abort.has_grpc_status {
                    abort.grpc_status.into()
                } else {
                    Value::Null
                },
            ),
            ("perTenThousand", abort.per_ten_thousand.into()),
        ])
    };
    object([
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("targetRefs", targets(&raw.targets, &raw.route_targets)),
        ("delay", raw.delay.as_ref().map_or(Value::Null, delay)),
        ("abort", raw.abort.as_ref().map_or(Value::Null, abort)),
        ("headers", list(&raw.headers, value_match)),
        ("principals", list(&raw.principals, |name| text(name))),
        (
            "secondsLeft",
            left.map_or(Value::Null, |left| left.as_secs().into()),
        ),
    ])
}

fn some<T>(raw: Option<&T>, one: impl FnOnce(&T) -> Value) -> Value {
    raw.map_or(Value::Null, one)
}

fn targets(services: &[pb::ServiceRef], routes: &[String]) -> Value {
    let routes = routes
        .iter()
        .map(|route| json!({ "kind": "HTTPRoute", "name": route }));
    services.iter().map(service).chain(routes).collect()
}

fn service(raw: &pb::ServiceRef) -> Value {
    object([
        ("kind", "Service".into()),
        ("name", text(&raw.service)),
        ("port", number(raw.port)),
    ])
}

fn parents(services: &[pb::ServiceRef], listeners: &[pb::ListenerRef]) -> Value {
    let listener = |raw: &pb::ListenerRef| {
        object([
            ("kind", "Gateway".into()),
            ("name", text(&raw.gateway)),
            ("sectionName", text(&raw.listener)),
            ("hostnames", list(&raw.hostnames, |name| text(name))),
        ])
    };
    let all: Vec<_> = services
        .iter()
        .map(service)
        .chain(listeners.iter().map(listener))
        .collect();
    list(&all, Value::clone)
}

fn one_match(raw: &pb::HttpMatch) -> Value {
    use pb::path_match::Kind;
    let path = match raw.path.as_ref().and_then(|path| path.kind.as_ref()) {
        None => Value::Null,
        Some(Kind::Exact(value)) => json!({ "type": "Exact", "value": value }),
        Some(Kind::Prefix(value)) => json!({ "type": "PathPrefix", "value": value }),
        Some(Kind::Regex(value)) => json!({ "type": "RegularExpression", "value": value }),
    };
    object([
        ("path", path),
        ("headers", list(&raw.headers, value_match)),
        ("queryParams", list(&raw.query_params, value_match)),
        ("method", text(&raw.method)),
    ])
}

fn value_match(raw: &pb::ValueMatch) -> Value {
    let (kind, value) = match &raw.kind {
        Some(pb::value_match::Kind::Exact(value)) => ("Exact", value.as_str()),
        Some(pb::value_match::Kind::Regex(value)) => ("RegularExpression", value.as_str()),
        None => ("", ""),
    };
    json!({ "name": raw.name, "type": kind, "value": value })
}

fn filter(raw: &pb::HttpFilter) -> Value {
    use pb::http_filter::Kind;
    match &raw.kind {
        Some(Kind::RequestHeaders(change)) => json!({ "requestHeaderModifier": headers(change) }),
        Some(Kind::ResponseHeaders(change)) => json!({ "responseHeaderModifier": headers(change) }),
        Some(Kind::Redirect(redirect)) => json!({ "requestRedirect": object([
            ("scheme", text(&redirect.scheme)),
            ("hostname", text(&redirect.hostname)),
            ("path", redirect.path.as_ref().map_or(Value::Null, path_change)),
            ("port", number(redirect.port)),
            ("statusCode", number(redirect.status)),
        ]) }),
        Some(Kind::Rewrite(rewrite)) => json!({ "urlRewrite": object([
            ("hostname", text(&rewrite.hostname)),
            ("path", rewrite.path.as_ref().map_or(Value::Null, path_change)),
        ]) }),
        Some(Kind::Mirror(mirror)) => json!({ "requestMirror": object([
            ("backendRef", mirror.backend.as_ref().map_or(Value::Null, backend)),
            ("perTenThousand", mirror.per_ten_thousand.into()),
        ]) }),
        Some(Kind::Cors(cors)) => json!({ "cors": object([
            ("allowOrigins", json!(cors.allow_origins)),
            ("allowCredentials", json!(cors.allow_credentials)),
            ("allowMethods", json!(cors.allow_methods)),
            ("allowHeaders", json!(cors.allow_headers)),
            ("exposeHeaders", json!(cors.expose_headers)),
            ("maxAge", json!(cors.max_age)),
        ]) }),
        Some(Kind::Unresolved(reason)) => json!({ "unresolved": reason }),
        None => Value::Null,
    }
}

fn path_change(raw: &pb::PathChange) -> Value {
    match &raw.kind {
        Some(pb::path_change::Kind::Full(path)) => json!({ "replaceFullPath": path }),
        Some(pb::path_change::Kind::Prefix(path)) => json!({ "replacePrefixMatch": path }),
        None => Value::Null,
    }
}

fn headers(raw: &pb::HeaderChange) -> Value {
    let pair = |header: &pb::Header| json!({ "name": header.name, "value": header.value });
    object([
        ("set", list(&raw.set, pair)),
        ("add", list(&raw.add, pair)),
        ("remove", list(&raw.remove, |n| text(n))),
    ])
}

fn backend(raw: &pb::HttpBackend) -> Value {
    let (name, port, unresolved) = match &raw.target {
        Some(pb::http_backend::Target::Service(service)) => {
            (text(&service.service), number(service.port), Value::Null)
        }
        Some(pb::http_backend::Target::Unresolved(reason)) => {
            (Value::Null, Value::Null, text(reason))
        }
        None => (Value::Null, Value::Null, Value::Null),
    };
    object([
        ("name", name),
        ("port", port),
        ("unresolved", unresolved),
        ("weight", raw.weight.into()),
        ("filters", list(&raw.filters, filter)),
    ])
}

fn retry(raw: &pb::Retry) -> Value {
    object([
        ("attempts", raw.attempts.into()),
        ("codes", list(&raw.codes, |code| (*code).into())),
        (
            "conditions",
            list(&raw.conditions, |condition| text(condition)),
        ),
        ("backoff", duration(raw.backoff.as_ref())),
        ("perTryTimeout", duration(raw.per_try_timeout.as_ref())),
    ])
}

fn timeouts(
    request: Option<&prost_types::Duration>,
    backend: Option<&prost_types::Duration>,
) -> Value {
    object([
        ("request", duration(request)),
        ("backendRequest", duration(backend)),
    ])
}

fn duration(raw: Option<&prost_types::Duration>) -> Value {
    raw.map_or(Value::Null, |raw| Value::String(raw.to_string()))
}

fn text(raw: &str) -> Value {
    if raw.is_empty() {
        Value::Null
    } else {
        raw.into()
    }
}

fn number(raw: u32) -> Value {
    if raw == 0 { Value::Null } else { raw.into() }
}

fn flag(raw: bool) -> Value {
    if raw { true.into() } else { Value::Null }
}

fn list<T>(raw: &[T], one: impl Fn(&T) -> Value) -> Value {
    if raw.is_empty() {
        Value::Null
    } else {
        raw.iter().map(one).collect()
    }
}

/// An object of what is there; nothing if nothing is.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let there = fields.into_iter().filter(|(_, value)| !value.is_null());
    let fields: Map<_, _> = there
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if fields.is_empty() {
        Value::Null
    } else {
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_reads_like_the_yaml() {
        let service = pb::ServiceRef {
            service: "d/web".into(),
            port: 80,
        };
        let path = pb::PathMatch {
            kind: Some(pb::path_match::Kind::Prefix("/a".into())),
        };
        let raw = pb::HttpRoute {
            namespace: "d".into(),
            name: "r".into(),
            parents: vec![service.clone()],
            rules: vec![pb::HttpRule {
                matches: vec![pb::HttpMatch {
                    path: Some(path),
                    ..Default::default()
                }],
                backends: vec![pb::HttpBackend {
                    target: Some(pb::http_backend::Target::Service(service)),
                    weight: 9,
                    filters: Vec::new(),
                }],
                request_timeout: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let expected = json!({
            "namespace": "d", "name": "r",
            "parentRefs": [{ "kind": "Service", "name": "d/web", "port": 80 }],
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": "/a" } }],
                "backendRefs": [{ "name": "d/web", "port": 80, "weight": 9 }],
                "timeouts": { "request": "1.500s" },
            }],
        });
        assert_eq!(route(&raw), expected);
    }

    #[test]
    fn a_listener_shows_its_certificate_and_no_key() {
        let raw = crate::config::certificate::testing::ecdsa(&["a.example"]);
        let known = Certificate::decode(&raw).unwrap();
        let shown = certificate("Secret/d/a", &known);
        let keys: Vec<_> = shown.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["name", "not_after", "serial"]);
        let raw = pb::Gateway {
            namespace: "d".into(),
            name: "g".into(),
            listeners: vec![pb::Listener {
                name: "web".into(),
                port: 443,
                protocol: pb::ListenerProtocol::Https.into(),
                certificates: vec!["Secret/d/a".into()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let expected = json!({
            "namespace": "d", "name": "g",
            "listeners": [{ "name": "web", "port": 443, "protocol": "HTTPS", "certificateRefs": ["Secret/d/a"] }],
        });
        assert_eq!(gateway(&raw), expected);
    }
}
