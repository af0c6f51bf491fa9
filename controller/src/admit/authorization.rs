//! AuthorizationPolicies.

use std::net::IpAddr;
use std::str::FromStr as _;

use super::names::{dns_label, dns_subdomain};
use super::traffic;
use crate::api::{AuthorizationPolicySpec, Condition, Ipnet, Port, Rule, Source};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check(meta: &Meta, spec: &AuthorizationPolicySpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    if spec.selector.is_some() && !spec.target_refs.is_empty() {
        issues.add(at.key("targetRefs"), "cannot stand beside a selector");
    }
    let kinds = ["Service", "ServiceEntry", "Gateway"];
    traffic::check_targets(meta, &spec.target_refs, &kinds, issues);
    for (i, rule) in spec.rules.iter().enumerate() {
        check_rule(rule, &at.key("rules").index(i), issues);
    }
}

fn check_rule(rule: &Rule, at: &FieldPath, issues: &mut Issues) {
    for (i, from) in rule.from.iter().enumerate() {
        let at = at.key("from").index(i).key("source");
        if from.source == Source::default() {
            issues.add(at.clone(), "sets no field");
        }
        check_source(&from.source, &at, issues);
    }
    for (i, to) in rule.to.iter().enumerate() {
        if to.operation == crate::api::Operation::default() {
            issues.add(at.key("to").index(i).key("operation"), "sets no field");
        }
    }
    for (i, condition) in rule.when.iter().enumerate() {
        check_condition(condition, &at.key("when").index(i), issues);
    }
}

fn check_source(source: &Source, at: &FieldPath, issues: &mut Issues) {
    let mut each = |key: &str, values: &[String], check: fn(&str) -> Result<(), String>| {
        for (i, value) in values.iter().enumerate() {
            issues.take(&at.key(key).index(i), check(value));
        }
    };
    each("principals", &source.principals, principal);
    each("notPrincipals", &source.not_principals, principal);
    each("namespaces", &source.namespaces, pattern);
    each("notNamespaces", &source.not_namespaces, pattern);
    each("serviceAccounts", &source.service_accounts, service_account);
    each(
        "notServiceAccounts",
        &source.not_service_accounts,
        service_account,
    );
}

fn check_condition(condition: &Condition, at: &FieldPath, issues: &mut Issues) {
    if condition.values.is_empty() && condition.not_values.is_empty() {
        issues.add(at.clone(), "has neither values nor notValues");
    }
    let check: fn(&str) -> Result<(), String> = match condition.key.as_str() {
        "source.ip" | "destination.ip" => |value| Ipnet::from_str(value).map(drop),
        "destination.port" => |value| Port::from_str(value).map(drop),
        "source.namespace" => pattern,
        "source.principal" => principal,
        "source.serviceAccount" => service_account,
        key if needs_http(key) => |_| Ok(()),
        other => {
            issues.add(
                at.key("key"),
                format!("{other:?} is no attribute that is known"),
            );
            return;
        }
    };
    for (list, values) in [
        ("values", &condition.values),
        ("notValues", &condition.not_values),
    ] {
        for (i, value) in values.iter().enumerate() {
            issues.take(&at.key(list).index(i), check(value));
        }
    }
}

/// Attributes that only an HTTP proxy can evaluate.
pub(crate) fn needs_http(key: &str) -> bool {
    key.starts_with("request.") || key == "remote.ip" || key == "connection.sni"
}

/// A name, or the beginning, end or mere presence of one.
fn pattern(value: &str) -> Result<(), String> {
    let inner = value
        .strip_suffix('*')
        .or_else(|| value.strip_prefix('*'))
        .unwrap_or(value);
    if value.is_empty() {
        return Err("is empty and would match nothing".into());
    }
    if inner.contains('*') {
        return Err(format!("{value:?}: '*' stands first, last or alone"));
    }
    Ok(())
}

fn principal(value: &str) -> Result<(), String> {
    if value.starts_with("spiffe://") {
        return Err(format!(
            "{value:?} would match nothing: principals are written without spiffe://"
        ));
    }
    pattern(value)
}

fn service_account(value: &str) -> Result<(), String> {
    let (namespace, name) = value.split_once('/').unwrap_or(("default", value));
    dns_label(namespace)?;
    dns_subdomain(name)
}

/// Blocks of a condition that was found good.
pub(crate) fn blocks(values: &[String]) -> Vec<ipnet::IpNet> {
    let parse = |value: &String| {
        let block: Option<Ipnet> = value.parse().ok();
        block
            .map(Ipnet::get)
            .or_else(|| value.parse::<IpAddr>().ok().map(Into::into))
    };
    values.iter().filter_map(parse).collect()
}
