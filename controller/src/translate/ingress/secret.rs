//! References to Secrets with certificates.

use crate::model::{CertificateRef, Kind, NsName};
use crate::translate::refs;
use crate::world::World;

/// The Secret that an object of kind `from` in namespace `own` refers to, and what is wrong with what it holds now; or
/// whether it may be referred to, and why there is no certificate.
pub(super) fn secret(
    world: &World,
    (from, own): (Kind, &str),
    reference: &CertificateRef,
) -> Result<(NsName, Option<String>), (bool, String)> {
    let name = NsName::new(
        reference.namespace.as_deref().unwrap_or(own),
        reference.name.as_str(),
    );
    if !matches!(reference.group.as_str(), "" | "core") || reference.kind != "Secret" {
        let message = format!("{}/{} is no Secret", reference.group, reference.kind);
        return Err((true, message));
    }
    if !refs::permitted(world, from, own, Kind::Secret, &name) {
        let message = format!("Secret {name} is in another namespace, which does not permit it");
        return Err((false, message));
    }
    let secret = world.cache.secrets.get(&name).ok_or_else(|| {
        let message = format!("there is no Secret {name} of type kubernetes.io/tls");
        (true, message)
    })?;
    let problem = secret.spec.problem.as_ref();
    if secret.spec.pair.is_none() {
        let problem = problem.map_or("", String::as_str);
        return Err((true, format!("Secret {name}: {problem}")));
    }
    let problem =
        problem.map(|problem| format!("Secret {name}: {problem}: the last good one is in force"));
    Ok((name, problem))
}
