//! TLSRoutes and TCPRoutes.

use super::http_route::{check_backend, check_hostnames};
use super::names::dns_subdomain;
use crate::api::StreamRouteSpec;
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check_tls(_meta: &Meta, spec: &StreamRouteSpec, issues: &mut Issues) {
    check_hostnames(&spec.hostnames, &FieldPath::of("spec.hostnames"), issues);
    check(spec, issues);
}

pub(super) fn check_tcp(_meta: &Meta, spec: &StreamRouteSpec, issues: &mut Issues) {
    if !spec.hostnames.is_empty() {
        issues.add(FieldPath::of("spec.hostnames"), "unknown field");
    }
    check(spec, issues);
}

fn check(spec: &StreamRouteSpec, issues: &mut Issues) {
    let at = FieldPath::of("spec.rules");
    if spec.rules.len() != 1 {
        let message = format!("has {} rules, not one", spec.rules.len());
        issues.add(at.clone(), message);
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = at.index(i);
        if let Some(name) = &rule.name {
            issues.take(&at.key("name"), dns_subdomain(name));
        }
        for (i, backend) in rule.backend_refs.iter().enumerate() {
            let at = at.key("backendRefs").index(i);
            check_backend(backend, &at, issues);
            if !backend.filters.is_empty() {
                issues.add(at.key("filters"), "unknown field");
            }
        }
    }
}
