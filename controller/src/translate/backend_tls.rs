//! BackendTLSPolicies: which of several holds, and whom it trusts.
//!
//! Invariant: what a policy that holds is for is told to proxies, also where nobody can be trusted there: they then do not
//! reach it. A policy that does not hold has no effect.

use culvert_proto::waypoint::{
    BackendTlsPolicy, BackendTlsTarget, ServiceRef, SubjectAltName, backend_tls_policy::Trust,
    backend_tls_target, subject_alt_name,
};

use super::addressed::{self, Addressed};
use super::ca::{self, Unresolved};
use super::finding::{ConditionType, Finding, Findings};
use super::names;
use super::resource::{Message, Resource};
use crate::api::{BackendTlsValidation, PolicyTarget, SubjectAltNameType};
use crate::model::{BackendTls, Key, Kind, NsName, Obj};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// The policy; none if nothing that it is for exists, or others go before it everywhere. And the services that it is for.
#[must_use]
pub fn of(
    world: &World,
    policy: &Obj<BackendTls>,
) -> (Option<Resource>, Vec<Finding>, Vec<Consumer>) {
    let name = &policy.meta.name;
    let mut findings = Findings::new(Key {
        kind: Kind::BackendTlsPolicy,
        name: name.clone(),
    });
    let (targets, services) = targets(world, policy, &mut findings);
    let trust = trust(world, policy, &mut findings);
    let names = policy.spec.validation.as_ref().ok();
    let record = BackendTlsPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        targets,
        hostname: names.map_or_else(String::new, |v| v.hostname.clone()),
        subject_alt_names: names.map_or_else(Vec::new, alternatives),
        trust: Some(trust),
    };
    let holds = !record.targets.is_empty();
    let resource = Resource {
        name: names::backend_tls(name).into(),
        aliases: Vec::new(),
        message: Message::BackendTlsPolicy(record),
    };
    (holds.then_some(resource), findings.into_vec(), services)
}

/// Services and ServiceEntries that a policy names, whether or not it holds there.
pub fn named(policy: &Obj<BackendTls>) -> impl Iterator<Item = Consumer> {
    let targets = policy.spec.targets.iter();
    targets.filter_map(|target| target_of(policy, target))
}

fn target_of(policy: &Obj<BackendTls>, target: &PolicyTarget) -> Option<Consumer> {
    let kind = addressed::kind(Some(&target.group), Some(&target.kind))?;
    let name = NsName::new(policy.meta.name.namespace.clone(), target.name.as_str());
    Some(addressed::consumer(kind, name))
}

fn targets(
    world: &World,
    policy: &Obj<BackendTls>,
    findings: &mut Findings,
) -> (Vec<BackendTlsTarget>, Vec<Consumer>) {
    let accepted = ConditionType::Accepted;
    let (mut held, mut services) = (Vec::new(), Vec::new());
    for (i, target) in policy.spec.targets.iter().enumerate() {
        let at = FieldPath::of("spec.targetRefs").index(i);
        let Some(service) = target_of(policy, target) else {
            let message = format!(
                "{}/{} is no Service or ServiceEntry",
                target.group, target.kind
            );
            findings.error(accepted, "Invalid", at.key("kind"), message);
            continue;
        };
        if let Some(other) = before(world, policy, target) {
            let message = format!("BackendTLSPolicy {other} is for the same and goes before it");
            findings.error(accepted, "Conflicted", at, message);
            continue;
        }
        match references(world, &service, target.section()) {
            Ok(references) => {
                for reference in references {
                    let kind = Some(backend_tls_target::Kind::Service(reference));
                    let target = BackendTlsTarget { kind };
                    if !held.contains(&target) {
                        held.push(target);
                    }
                }
                services.push(service);
            }
            Err((field, message)) => {
                findings.error(accepted, "TargetNotFound", at.key(field), message);
            }
        }
    }
    (held, services)
}

/// Of several policies for the same the oldest holds, then the first by name.
fn before<'a>(
    world: &'a World,
    policy: &Obj<BackendTls>,
    target: &PolicyTarget,
) -> Option<&'a NsName> {
    fn rank(policy: &Obj<BackendTls>) -> impl Ord + use<'_> {
        (policy.meta.created, &policy.meta.name)
    }
    let all = world.cache.backend_tls.of(&policy.meta.name.namespace);
    let others = all.filter(|other| {
        rank(other) < rank(policy) && other.spec.targets.iter().any(|t| t.is(target))
    });
    others.map(|other| &other.meta.name).next()
}

fn references(
    world: &World,
    target: &Consumer,
    section: Option<&str>,
) -> Result<Vec<ServiceRef>, (&'static str, String)> {
    let found = Addressed::find(world, target);
    let found = found.ok_or_else(|| ("name", format!("there is no {target}")))?;
    let port = section.map_or(Ok(0), |section| {
        let missing = || format!("{target} has no port named {section:?}");
        let port = found.port_named(section).map(|port| port.port);
        port.ok_or_else(|| ("sectionName", missing()))
    })?;
    Ok(found.references(world, port))
}

fn trust(world: &World, policy: &Obj<BackendTls>, findings: &mut Findings) -> Trust {
    let validation = match &policy.spec.validation {
        Ok(validation) => validation,
        Err(problem) => {
            let at = FieldPath::root();
            findings.error(ConditionType::Accepted, "Invalid", at, problem.clone());
            return Trust::Unresolved(problem.clone());
        }
    };
    if validation.ca_certificate_refs.is_empty() {
        return Trust::System(true);
    }
    let at = FieldPath::of("spec.validation.caCertificateRefs");
    let own = &*policy.meta.name.namespace;
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for (i, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let kind = (&*reference.group, &*reference.kind);
        let name = NsName::new(own, reference.name.as_str());
        match ca::resolve(world, (Kind::BackendTlsPolicy, own), kind, &name) {
            Ok(certificates) if good.contains(&certificates) => {}
            Ok(certificates) => good.push(certificates),
            Err(unresolved) => {
                let (field, reason) = match &unresolved {
                    Unresolved::Kind(_) => ("kind", "InvalidKind"),
                    Unresolved::NotPermitted(_) => ("name", "RefNotPermitted"),
                    Unresolved::Invalid(_) => ("name", "InvalidCACertificateRef"),
                };
                let (at, message) = (at.index(i).key(field), unresolved.message());
                wrong.push(message.to_owned());
                findings.error(ConditionType::ResolvedRefs, reason, at, message);
            }
        }
    }
    if good.is_empty() {
        let message = wrong.join("; ");
        let reason = "NoValidCACertificate";
        findings.error(ConditionType::Accepted, reason, at, message.clone());
        return Trust::Unresolved(message);
    }
    Trust::CertificateAuthorities(good.join("\n"))
}

fn alternatives(validation: &BackendTlsValidation) -> Vec<SubjectAltName> {
    let names = validation.subject_alt_names.iter();
    let name = names.map(|name| SubjectAltName {
        kind: Some(match name.kind {
            SubjectAltNameType::Hostname => subject_alt_name::Kind::Hostname(name.hostname.clone()),
            SubjectAltNameType::Uri => subject_alt_name::Kind::Uri(name.uri.clone()),
        }),
    });
    name.collect()
}

#[cfg(test)]
mod tests;
