//! Who has a host, of all that ask for it.
//!
//! Invariant: what is decided depends on what stands in the Ingresses and on who had the host before, and not on the order
//! in which anything is looked at.

use std::sync::Arc;

use super::class;
use crate::api::HostOwnership;
use crate::model::{Ingress, IngressPath, NsName, Obj, PathType};
use crate::world::{Owners, World};

/// Those who have a host.
pub(super) struct Claims<'a> {
    host: &'a str,
    /// The namespace that has it.
    pub(super) owner: &'a Arc<str>,
    /// The eldest first.
    admitted: Vec<&'a Obj<Ingress>>,
}

/// A certificate of a host.
pub(super) struct Certificate<'a> {
    /// Who says so.
    pub(super) by: &'a Obj<Ingress>,
    /// The Secret.
    pub(super) secret: NsName,
}

/// Who has a host; none: nobody whom we serve asks for it.
pub(super) fn of<'a>(world: &'a World, host: &'a str) -> Option<Claims<'a>> {
    let asking = world.ingresses.asking(host);
    let asking = asking.filter_map(|name| world.cache.ingresses.get(name));
    let mut admitted: Vec<&Obj<Ingress>> = asking
        .map(|ingress| &**ingress)
        .filter(|ingress| class::is_served(world, &ingress.spec))
        .collect();
    admitted.sort_by_key(|ingress| ingress.meta.seniority());
    let namespace = |ingress: &&'a Obj<Ingress>| -> &'a Arc<str> { &ingress.meta.name.namespace };
    let before = world.ingresses.owner(host);
    let mut namespaces = admitted.iter().map(namespace);
    let owner = namespaces.find(|namespace| Some(&***namespace) == before);
    let owner = owner.or_else(|| admitted.first().map(namespace))?;
    if world.settings.host_ownership() == HostOwnership::Namespace {
        admitted.retain(|ingress| ingress.meta.name.namespace == *owner);
    }
    Some(Claims {
        host,
        owner,
        admitted,
    })
}

/// Who has each host now.
#[must_use]
pub fn owners(world: &World) -> Owners {
    let owner = |host: &str| Some((host.to_owned(), of(world, host)?.owner.clone()));
    world.ingresses.hosts().filter_map(owner).collect()
}

impl<'a> Claims<'a> {
    /// Whether an Ingress is among those who have it.
    pub(super) fn admits(&self, ingress: &NsName) -> bool {
        self.admitted.iter().any(|one| one.meta.name == *ingress)
    }

    /// What it proves itself with: what the eldest says that says anything.
    pub(super) fn certificate(&self) -> Option<Certificate<'a>> {
        let mut all = self
            .admitted
            .iter()
            .map(|one| (one, entry(&one.spec, self.host)));
        all.find_map(|(by, entry)| {
            let (_, secret) = entry?;
            let secret = NsName::new(by.meta.name.namespace.clone(), secret);
            Some(Certificate { by, secret })
        })
    }

    /// The elder Ingress that has this path of the host already.
    pub(super) fn taken(&self, ingress: &NsName, path: &IngressPath) -> Option<&'a NsName> {
        let elder = self.admitted.iter().map(|one| &one.meta.name);
        let elder = elder.take_while(|one| *one != ingress);
        let has = |one: &&Obj<Ingress>| paths(&one.spec, self.host).any(|p| is_same(p, path));
        let mut all = self.admitted.iter().zip(elder);
        all.find_map(|(one, name)| has(one).then_some(name))
    }

    /// Whether this Ingress's default backend takes what no path of the host matches: nobody says where `/` goes, and no
    /// elder one has a default backend.
    pub(super) fn defaults_to(&self, ingress: &NsName) -> bool {
        let everything = |one: &&Obj<Ingress>| {
            paths(&one.spec, self.host).any(|p| p.kind != PathType::Exact && trimmed(p).is_empty())
        };
        let with_default = |one: &&&Obj<Ingress>| one.spec.default_backend.is_some();
        let first = self.admitted.iter().find(with_default);
        first.is_some_and(|one| one.meta.name == *ingress) && !self.admitted.iter().any(everything)
    }
}

/// Paths that an Ingress has for a host.
fn paths<'a>(ingress: &'a Ingress, host: &'a str) -> impl Iterator<Item = &'a IngressPath> {
    let rules = ingress.rules.iter().filter(move |rule| rule.host == host);
    rules.flat_map(|rule| &rule.paths)
}

/// Whether two paths match the same requests.
pub(super) fn is_same(one: &IngressPath, other: &IngressPath) -> bool {
    match (one.kind == PathType::Exact, other.kind == PathType::Exact) {
        (true, true) => one.path == other.path,
        (false, false) => trimmed(one) == trimmed(other),
        _ => false,
    }
}

/// A prefix's elements: a slash at its end is none.
fn trimmed(path: &IngressPath) -> &str {
    path.path.trim_end_matches('/')
}

/// The entry of `spec.tls` with a Secret that is for a host: one that names it goes before one with a wildcard, and that
/// before one without hosts. Its place, and the Secret's name.
pub(super) fn entry<'a>(ingress: &'a Ingress, host: &str) -> Option<(usize, &'a str)> {
    let rank = |hosts: &[String]| {
        if hosts.iter().any(|one| one == host) {
            Some(0)
        } else if hosts.iter().any(|one| covers(one, host)) {
            Some(1)
        } else {
            hosts.is_empty().then_some(2)
        }
    };
    let entries = ingress.tls.iter().enumerate();
    let fitting =
        entries.filter_map(|(i, tls)| Some((rank(&tls.hosts)?, i, tls.secret.as_deref()?)));
    let (_, place, secret) = fitting.min_by_key(|(rank, place, _)| (*rank, *place))?;
    Some((place, secret))
}

/// Whether requests for a host would go to a listener of this one, were there no better one.
pub(super) fn covers(wide: &str, host: &str) -> bool {
    let of_one_label = |suffix: &str| {
        let parts = host.split_once('.');
        parts.is_some_and(|(label, rest)| label != "*" && rest == suffix)
    };
    wide.is_empty() || wide == host || wide.strip_prefix("*.").is_some_and(of_one_label)
}

#[cfg(test)]
mod tests;
