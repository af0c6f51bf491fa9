//! HTTPRoutes: what a rule matches, how long it may take, where it leads.

use super::http_filter;
use super::names::{dns_label, dns_subdomain};
use super::resilience::check_session;
use crate::api::{
    BackendRef, HttpRouteSpec, MatchType, PathMatch, PathMatchType, RouteMatch, RouteRule,
    ValueMatch,
};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

/// Of a compiled expression. Longer ones are refused here, so that a proxy need not.
const REGEX_BYTES: usize = 1 << 20;
const MAX_WEIGHT: u32 = 1_000_000;
/// What the Gateway API knows of.
pub(super) const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

pub(super) fn check(_meta: &Meta, spec: &HttpRouteSpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    check_hostnames(&spec.hostnames, &at.key("hostnames"), issues);
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = at.key("rules").index(i);
        for (i, m) in rule.matches.iter().enumerate() {
            check_match(m, &at.key("matches").index(i), issues);
        }
        check_rule(rule, &at, issues);
    }
}

pub(super) fn check_hostnames(hostnames: &[String], at: &FieldPath, issues: &mut Issues) {
    for (i, host) in hostnames.iter().enumerate() {
        let name = host.strip_prefix("*.").unwrap_or(host);
        issues.take(&at.index(i), dns_subdomain(name));
    }
}

/// What a rule of HTTP has, or one of gRPC as the rule of HTTP that it stands for, whatever it matches.
pub(super) fn check_rule(rule: &RouteRule, at: &FieldPath, issues: &mut Issues) {
    if let Some(name) = &rule.name {
        issues.take(&at.key("name"), dns_subdomain(name));
    }
    http_filter::check(&rule.filters, &at.key("filters"), rule, issues);
    for (i, backend) in rule.backend_refs.iter().enumerate() {
        let at = at.key("backendRefs").index(i);
        check_backend(backend, &at, issues);
        http_filter::check(&backend.filters, &at.key("filters"), rule, issues);
    }
    if let Some(session) = &rule.session_persistence {
        check_session(session, &at.key("sessionPersistence"), issues);
    }
    if let Some(timeouts) = &rule.timeouts {
        check_timeouts(timeouts, &at.key("timeouts"), issues);
    }
    for (i, code) in rule.retry.iter().flat_map(|retry| &retry.codes).enumerate() {
        if !(400..=599).contains(code) {
            let at = at.key("retry").key("codes").index(i);
            issues.add(at, format!("{code} is not between 400 and 599"));
        }
    }
}

/// A try cannot take longer than the whole.
pub(super) fn check_timeouts(timeouts: &crate::api::Timeouts, at: &FieldPath, issues: &mut Issues) {
    let (Some(whole), Some(one)) = (timeouts.request, timeouts.backend_request) else {
        return;
    };
    if !whole.get().is_zero() && one > whole {
        issues.add(
            at.key("backendRequest"),
            format!("is longer than request, {whole}"),
        );
    }
}

fn check_match(m: &RouteMatch, at: &FieldPath, issues: &mut Issues) {
    if let Some(path) = &m.path {
        issues.take(&at.key("path").key("value"), check_path(path));
    }
    check_values(&m.headers, &at.key("headers"), true, issues);
    check_values(&m.query_params, &at.key("queryParams"), false, issues);
    if let Some(method) = &m.method
        && !METHODS.contains(&method.as_str())
    {
        let message = format!("{method:?} is none of {}", METHODS.join(", "));
        issues.add(at.key("method"), message);
    }
}

pub(super) fn check_path(path: &PathMatch) -> Result<(), String> {
    let value = &path.value;
    if path.kind == PathMatchType::RegularExpression {
        return check_regex(value);
    }
    let bad = ["//", "/./", "/../", "%2f", "%2F", "#"];
    if !value.starts_with('/') {
        return Err(format!("{value:?} does not begin with /"));
    }
    if bad.iter().any(|bad| value.contains(bad)) || value.ends_with("/.") || value.ends_with("/..")
    {
        return Err(format!(
            "{value:?} has //, /./, /../, an encoded / or #, which no request that arrives has"
        ));
    }
    Ok(())
}

fn check_regex(expression: &str) -> Result<(), String> {
    let built = regex::RegexBuilder::new(expression)
        .size_limit(REGEX_BYTES)
        .build();
    built.map(drop).map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        format!(
            "{expression:?} is no regular expression: {}",
            last.trim_start_matches("error: ")
        )
    })
}

/// Matches of headers (whose names are tokens) or query parameters.
pub(super) fn check_values(
    values: &[ValueMatch],
    at: &FieldPath,
    headers: bool,
    issues: &mut Issues,
) {
    for (i, value) in values.iter().enumerate() {
        let at = at.index(i);
        if headers {
            issues.take(&at.key("name"), http_filter::header_name(&value.name));
        } else if value.name.is_empty() {
            issues.add(at.key("name"), "is empty");
        }
        if value.kind == MatchType::RegularExpression {
            issues.take(&at.key("value"), check_regex(&value.value));
        }
    }
}

/// The form of a reference to a backend. Whether it exists is looked at later.
pub(super) fn check_backend(backend: &BackendRef, at: &FieldPath, issues: &mut Issues) {
    issues.take(&at.key("name"), dns_subdomain(&backend.name));
    if let Some(namespace) = &backend.namespace {
        issues.take(&at.key("namespace"), dns_label(namespace));
    }
    if backend.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
        issues.add(at.key("weight"), format!("is more than {MAX_WEIGHT}"));
    }
}
