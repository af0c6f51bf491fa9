//! BackendTLSPolicies.
//!
//! Invariant: a policy whose targets can be told is admitted, however wrong or new the rest of it is. It says then that
//! its targets are not to be reached.

use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use super::names::dns_subdomain;
use super::{meta, read};
use crate::api::{BackendTlsPolicySpec, BackendTlsValidation, PolicyTarget, SubjectAltNameType};
use crate::keys;
use crate::model::{BackendTls, Kind, Obj};
use crate::path::{FieldPath, Issue, Issues};

pub(super) fn admit(value: &Value) -> Result<Arc<Obj<BackendTls>>, Vec<Issue>> {
    let mut wrong = Issues::default();
    let meta = meta::read(Kind::BackendTlsPolicy, value, &mut wrong)?;
    let spec: Result<read::Custom<BackendTlsPolicySpec>, _> = read::read(value);
    let (targets, validation) = match spec {
        Ok(policy) => {
            check(&policy.spec, &mut wrong);
            let validation = wrong.into_result(policy.spec.validation);
            (policy.spec.target_refs, validation)
        }
        Err(wrong) => (targets(value), Err(wrong)),
    };
    let validation = validation.map_err(|wrong| told(&wrong));
    let spec = BackendTls {
        targets,
        validation,
    };
    Ok(Arc::new(Obj { meta, spec }))
}

/// Those that can be read of a policy that cannot.
fn targets(value: &Value) -> Vec<PolicyTarget> {
    let targets = value["spec"]["targetRefs"].as_array().into_iter().flatten();
    let read = |target: &Value| PolicyTarget::deserialize(target).ok();
    targets.filter_map(read).collect()
}

fn told(issues: &[Issue]) -> String {
    let line = |issue: &Issue| format!("{}: {}", issue.field, issue.message);
    let lines: Vec<_> = issues.iter().map(line).collect();
    lines.join("; ")
}

fn check(spec: &BackendTlsPolicySpec, issues: &mut Issues) {
    let BackendTlsValidation {
        ca_certificate_refs,
        well_known_ca_certificates,
        hostname,
        subject_alt_names,
    } = &spec.validation;
    let at = FieldPath::of("spec.validation");
    let well_known = well_known_ca_certificates.as_deref().unwrap_or_default();
    match (well_known, ca_certificate_refs.is_empty()) {
        ("" | "System", empty) if empty != well_known.is_empty() => {}
        ("", _) => issues.add(
            at.clone(),
            "whom to trust is missing: caCertificateRefs or wellKnownCACertificates",
        ),
        ("System", _) => issues.add(
            at.clone(),
            "caCertificateRefs and wellKnownCACertificates exclude each other",
        ),
        (other, _) => {
            let message = format!("{other:?} is not known: System is");
            issues.add(at.key("wellKnownCACertificates"), message);
        }
    }
    issues.take(&at.key("hostname"), dns_subdomain(hostname));
    for (i, name) in subject_alt_names.iter().enumerate() {
        let at = at.key("subjectAltNames").index(i);
        let (field, other) = match name.kind {
            SubjectAltNameType::Hostname => {
                let host = name.hostname.strip_prefix("*.").unwrap_or(&name.hostname);
                issues.take(&at.key("hostname"), dns_subdomain(host));
                ("uri", &name.uri)
            }
            SubjectAltNameType::Uri => {
                issues.take(&at.key("uri"), absolute(&name.uri));
                ("hostname", &name.hostname)
            }
        };
        if !other.is_empty() {
            issues.add(at.key(field), "does not go with its type");
        }
    }
    for key in spec.options.keys().filter(|k| k.starts_with(keys::PREFIX)) {
        issues.add(FieldPath::of("spec.options").key(key), "is not known");
    }
}

/// A scheme, and something after it (RFC 3986).
fn absolute(uri: &str) -> Result<(), String> {
    let (scheme, rest) = uri.split_once(':').unwrap_or_default();
    let letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if letter && scheme.chars().all(known) && !rest.is_empty() && uri.is_ascii() {
        return Ok(());
    }
    Err(format!("{uri:?} is no URI with a scheme"))
}

#[cfg(test)]
mod tests;
