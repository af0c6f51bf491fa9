//! Filters of HTTPRoutes.

use http::{HeaderName, HeaderValue};

use super::cors;
use super::http_route::check_backend;
use super::names::dns_subdomain;
use crate::api::{
    Filter, FilterType, HeaderModifier, Mirror, PathMatchType, PathModifier, PathModifierType,
    Redirect, RouteRule,
};
use crate::path::{FieldPath, Issues};

/// Headers that frame a message or name its target cannot be changed.
const FIXED: [&str; 6] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "te",
];

pub(super) fn check(filters: &[Filter], at: &FieldPath, rule: &RouteRule, issues: &mut Issues) {
    let has = |kind| filters.iter().any(|filter| filter.kind == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        issues.add(
            at.clone(),
            "RequestRedirect and URLRewrite exclude each other",
        );
    }
    for (i, filter) in filters.iter().enumerate() {
        let at = at.index(i);
        let repeats =
            filter.kind != FilterType::RequestMirror && filter.kind != FilterType::ExtensionRef;
        if repeats && filters[..i].iter().any(|other| other.kind == filter.kind) {
            issues.add(at.key("type"), "stands twice in this list");
        }
        check_one(filter, &at, rule, issues);
    }
}

fn check_one(filter: &Filter, at: &FieldPath, rule: &RouteRule, issues: &mut Issues) {
    let (member, present) = match filter.kind {
        FilterType::RequestHeaderModifier => (
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        FilterType::ResponseHeaderModifier => (
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        FilterType::RequestRedirect => ("requestRedirect", filter.request_redirect.is_some()),
        FilterType::UrlRewrite => ("urlRewrite", filter.url_rewrite.is_some()),
        FilterType::RequestMirror => ("requestMirror", filter.request_mirror.is_some()),
        FilterType::Cors => ("cors", filter.cors.is_some()),
        FilterType::ExternalAuth => ("externalAuth", filter.external_auth.is_some()),
        FilterType::ExtensionRef => ("extensionRef", filter.extension_ref.is_some()),
    };
    if !present {
        issues.add(at.key(member), "is missing, though `type` names it");
    }
    if let Some(headers) = &filter.request_header_modifier {
        check_headers(headers, &at.key("requestHeaderModifier"), issues);
    }
    if let Some(headers) = &filter.response_header_modifier {
        check_headers(headers, &at.key("responseHeaderModifier"), issues);
    }
    if let Some(redirect) = &filter.request_redirect {
        check_redirect(redirect, &at.key("requestRedirect"), rule, issues);
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let at = at.key("urlRewrite");
        check_host_and_path(
            rewrite.hostname.as_deref(),
            rewrite.path.as_ref(),
            &at,
            rule,
            issues,
        );
    }
    if let Some(mirror) = &filter.request_mirror {
        check_mirror(mirror, &at.key("requestMirror"), issues);
    }
    if let Some(cors) = &filter.cors {
        cors::check(cors, &at.key("cors"), issues);
    }
}

fn check_headers(headers: &HeaderModifier, at: &FieldPath, issues: &mut Issues) {
    for (key, list) in [("set", &headers.set), ("add", &headers.add)] {
        for (i, header) in list.iter().enumerate() {
            let at = at.key(key).index(i);
            issues.take(&at.key("name"), changeable(&header.name));
            let value = HeaderValue::from_str(&header.value);
            issues.take(
                &at.key("value"),
                value.map_err(|_| "is no value of a header"),
            );
        }
    }
    for (i, name) in headers.remove.iter().enumerate() {
        issues.take(&at.key("remove").index(i), changeable(name));
    }
}

/// A header's name, in any case.
pub(super) fn header_name(name: &str) -> Result<(), String> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    parsed
        .map(drop)
        .map_err(|_| format!("{name:?} is no name of a header"))
}

fn changeable(name: &str) -> Result<(), String> {
    header_name(name)?;
    if FIXED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name:?} cannot be changed"));
    }
    Ok(())
}

fn check_redirect(redirect: &Redirect, at: &FieldPath, rule: &RouteRule, issues: &mut Issues) {
    if !matches!(redirect.scheme.as_deref(), None | Some("http" | "https")) {
        issues.add(at.key("scheme"), "is neither http nor https");
    }
    if !matches!(
        redirect.status_code,
        None | Some(301 | 302 | 303 | 307 | 308)
    ) {
        issues.add(at.key("statusCode"), "is none of 301, 302, 303, 307, 308");
    }
    check_host_and_path(
        redirect.hostname.as_deref(),
        redirect.path.as_ref(),
        at,
        rule,
        issues,
    );
}

fn check_host_and_path(
    hostname: Option<&str>,
    path: Option<&PathModifier>,
    at: &FieldPath,
    rule: &RouteRule,
    issues: &mut Issues,
) {
    if let Some(hostname) = hostname {
        issues.take(&at.key("hostname"), dns_subdomain(hostname));
    }
    let Some(path) = path else { return };
    let at = at.key("path");
    let (member, value) = match path.kind {
        PathModifierType::ReplaceFullPath => ("replaceFullPath", &path.replace_full_path),
        PathModifierType::ReplacePrefixMatch => ("replacePrefixMatch", &path.replace_prefix_match),
    };
    match value {
        None => issues.add(at.key(member), "is missing, though `type` names it"),
        Some(value) if !value.is_empty() && !value.starts_with('/') => {
            issues.add(at.key(member), format!("{value:?} does not begin with /"));
        }
        Some(_) => {}
    }
    let prefix = |kind: PathMatchType| kind == PathMatchType::PathPrefix;
    let mut matches = rule.matches.iter();
    let prefixes_only = matches.all(|m| m.path.as_ref().is_none_or(|path| prefix(path.kind)));
    if path.kind == PathModifierType::ReplacePrefixMatch && !prefixes_only {
        issues.add(at.key(member), "needs matches of type PathPrefix only");
    }
}

fn check_mirror(mirror: &Mirror, at: &FieldPath, issues: &mut Issues) {
    check_backend(&mirror.backend_ref, &at.key("backendRef"), issues);
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        issues.add(at.key("fraction"), "cannot stand beside percent");
    }
    if mirror.percent.is_some_and(|percent| percent > 100) {
        issues.add(at.key("percent"), "is more than 100");
    }
    if let Some(fraction) = mirror.fraction {
        let denominator = fraction.denominator.unwrap_or(100);
        if denominator == 0 || fraction.numerator > denominator {
            issues.add(at.key("fraction"), "is not between 0 and 1");
        }
    }
}
