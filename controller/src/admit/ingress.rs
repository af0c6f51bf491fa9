//! Ingresses and their classes.
//!
//! Invariant: only what the API server refuses too is refused here. Anything else may be another controller's way of
//! writing, and is looked at once it is known whose the Ingress is.

use k8s_openapi::api::networking::v1 as networking;

use super::http_route::check_path;
use super::names::{dns_subdomain, port};
use crate::api::{PathMatch, PathMatchType};
use crate::keys;
use crate::model::{
    BackendPort, Ingress, IngressBackend, IngressClass, IngressPath, IngressRule, IngressTls,
    PathType,
};
use crate::path::{FieldPath, Issues};

pub(super) fn admit(ingress: &networking::Ingress, issues: &mut Issues) -> Ingress {
    let at = FieldPath::of("spec");
    let spec = ingress.spec.clone().unwrap_or_default();
    let annotations = ingress.metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
    let old = annotation(keys::INGRESS_CLASS).filter(|name| !name.is_empty());
    let rules = spec.rules.iter().flatten().enumerate();
    let tls = spec.tls.iter().flatten().enumerate();
    Ingress {
        // Kubernetes has it so that the annotation, where there is one, goes first.
        class: old.map(str::to_owned).or(spec.ingress_class_name),
        default_backend: spec
            .default_backend
            .as_ref()
            .and_then(|b| backend(b, &at.key("defaultBackend"), issues)),
        rules: rules
            .map(|(i, r)| rule(r, &at.key("rules").index(i), issues))
            .collect(),
        tls: tls
            .map(|(i, t)| entry(t, &at.key("tls").index(i), issues))
            .collect(),
        redirect: redirect(annotation(keys::SSL_REDIRECT), issues),
    }
}

pub(super) fn admit_class(class: &networking::IngressClass, _: &mut Issues) -> IngressClass {
    let annotations = class.metadata.annotations.as_ref();
    let default = annotations.and_then(|all| all.get(keys::IS_DEFAULT_CLASS));
    let spec = class.spec.clone().unwrap_or_default();
    IngressClass {
        controller: spec.controller.unwrap_or_default(),
        is_default: default.is_some_and(|text| text == "true"),
        has_parameters: spec.parameters.is_some(),
    }
}

fn redirect(text: Option<&str>, issues: &mut Issues) -> bool {
    match text {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let at = FieldPath::of("metadata.annotations").key(keys::SSL_REDIRECT);
            issues.add(at, format!("{other:?} is neither true nor false"));
            false
        }
    }
}

fn rule(rule: &networking::IngressRule, at: &FieldPath, issues: &mut Issues) -> IngressRule {
    let name = rule.host.clone().unwrap_or_default();
    check_host(&name, &at.key("host"), issues);
    let at = at.key("http").key("paths");
    let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
    let paths = paths.filter_map(|(i, p)| path(p, &at.index(i), issues));
    IngressRule {
        paths: paths.collect(),
        host: name,
    }
}

fn check_host(name: &str, at: &FieldPath, issues: &mut Issues) {
    if !name.is_empty() {
        issues.take(at, dns_subdomain(name.strip_prefix("*.").unwrap_or(name)));
    }
}

fn path(
    path: &networking::HTTPIngressPath,
    at: &FieldPath,
    issues: &mut Issues,
) -> Option<IngressPath> {
    let (kind, meant) = match path.path_type.as_str() {
        "Exact" => (PathType::Exact, PathMatchType::Exact),
        "Prefix" => (PathType::Prefix, PathMatchType::PathPrefix),
        "ImplementationSpecific" => (PathType::ImplementationSpecific, PathMatchType::PathPrefix),
        other => {
            let message = format!("{other:?} is none of Exact, Prefix, ImplementationSpecific");
            issues.add(at.key("pathType"), message);
            return None;
        }
    };
    let text = path.path.clone().unwrap_or_default();
    let value = match kind {
        PathType::ImplementationSpecific if text.is_empty() => "/".to_owned(),
        _ => text,
    };
    let checked = match kind {
        PathType::ImplementationSpecific if value.starts_with('/') => Ok(()),
        _ => check_path(&PathMatch {
            kind: meant,
            value: value.clone(),
        }),
    };
    issues.take(&at.key("path"), checked)?;
    Some(IngressPath {
        path: value,
        kind,
        backend: backend(&path.backend, &at.key("backend"), issues)?,
    })
}

fn backend(
    backend: &networking::IngressBackend,
    at: &FieldPath,
    issues: &mut Issues,
) -> Option<IngressBackend> {
    match (&backend.service, &backend.resource) {
        (Some(service), None) => {
            let at = at.key("service");
            issues.take(&at.key("name"), dns_subdomain(&service.name))?;
            let at = at.key("port");
            let stated = service.port.clone().unwrap_or_default();
            let stated = match (stated.number, stated.name) {
                (Some(number), None) => {
                    BackendPort::Number(issues.take(&at.key("number"), port(number))?)
                }
                (None, Some(name)) => BackendPort::Name(name),
                _ => {
                    issues.add(at, "has either a number or a name");
                    return None;
                }
            };
            Some(IngressBackend::Service(service.name.clone(), stated))
        }
        (None, Some(resource)) => Some(IngressBackend::Resource(format!(
            "{} {}",
            resource.kind, resource.name
        ))),
        _ => {
            issues.add(at.clone(), "has either a service or a resource");
            None
        }
    }
}

fn entry(entry: &networking::IngressTLS, at: &FieldPath, issues: &mut Issues) -> IngressTls {
    let hosts = entry.hosts.clone().unwrap_or_default();
    for (i, name) in hosts.iter().enumerate() {
        let at = at.key("hosts").index(i);
        if name.is_empty() {
            issues.add(at, "is empty");
        } else {
            check_host(name, &at, issues);
        }
    }
    let secret = entry.secret_name.clone().filter(|name| !name.is_empty());
    if let Some(name) = &secret {
        issues.take(&at.key("secretName"), dns_subdomain(name));
    }
    IngressTls { hosts, secret }
}

#[cfg(test)]
mod tests;
