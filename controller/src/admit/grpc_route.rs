//! GRPCRoutes: what a rule matches and where it leads. What they have in common with HTTPRoutes is looked at there.

use super::http_route::{check_hostnames, check_path, check_rule, check_values};
use crate::api::{Filter, FilterType, GrpcMatch, GrpcRouteSpec, MatchType, MethodMatch};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check(_meta: &Meta, spec: &GrpcRouteSpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    check_hostnames(&spec.hostnames, &at.key("hostnames"), issues);
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = at.key("rules").index(i);
        for (i, m) in rule.matches.iter().enumerate() {
            check_match(m, &at.key("matches").index(i), issues);
        }
        check_rule(&rule.as_http(), &at, issues);
        check_filters(&rule.filters, &at.key("filters"), issues);
        for (i, backend) in rule.backend_refs.iter().enumerate() {
            let at = at.key("backendRefs").index(i);
            check_filters(&backend.filters, &at.key("filters"), issues);
        }
    }
}

fn check_match(m: &GrpcMatch, at: &FieldPath, issues: &mut Issues) {
    check_values(&m.headers, &at.key("headers"), true, issues);
    let Some(method) = &m.method else {
        return;
    };
    let at = at.key("method");
    if method.service.is_none() && method.method.is_none() {
        issues.add(at.clone(), "names neither a service nor a method");
    }
    issues.take(&at, check_method(method));
}

/// Names of protocol buffers, or expressions for them.
fn check_method(method: &MethodMatch) -> Result<(), String> {
    if method.kind == MatchType::RegularExpression {
        return check_path(&method.path());
    }
    let names = [(&method.service, true), (&method.method, false)];
    for (name, dots) in names
        .into_iter()
        .filter_map(|(name, dots)| Some((name.as_ref()?, dots)))
    {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || (dots && c == '.');
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(word) {
            return Err(format!(
                "{name:?} is no name of a service or method of gRPC"
            ));
        }
    }
    Ok(())
}

/// Of HTTP's filters some make no sense of a call.
fn check_filters(filters: &[Filter], at: &FieldPath, issues: &mut Issues) {
    for (i, filter) in filters.iter().enumerate() {
        let known = matches!(
            filter.kind,
            FilterType::RequestHeaderModifier
                | FilterType::ResponseHeaderModifier
                | FilterType::RequestMirror
                | FilterType::ExtensionRef
        );
        if !known {
            let message = format!("{:?} is no filter of a GRPCRoute", filter.kind);
            issues.add(at.index(i).key("type"), message);
        }
    }
}
