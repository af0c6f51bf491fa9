//! References to certificates of authorities, as `caCertificateRefs` have them.
//!
//! Invariant: certificates that cannot be read, or may not be used, are none. Whoever refers to them trusts nobody by them.

use std::sync::Arc;

use super::refs;
use crate::model::{Kind, NsName};
use crate::world::World;

/// Why a reference leads to no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// To a kind that holds none.
    Kind(String),
    /// Into another namespace, which does not permit it.
    NotPermitted(String),
    /// To nothing, or to something that is no good.
    Invalid(String),
}

impl Unresolved {
    /// A sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Kind(message) | Self::NotPermitted(message) | Self::Invalid(message) => message,
        }
    }
}

/// The certificates (PEM, one at least) that an object of kind `from` in namespace `own` refers to by group, kind and name.
/// Kinds are those of the Gateway API's core support: ConfigMap, which has them in `ca.crt`.
pub fn resolve(
    world: &World,
    (from, own): (Kind, &str),
    (group, kind): (&str, &str),
    name: &NsName,
) -> Result<Arc<str>, Unresolved> {
    if !matches!(group, "" | "core") || kind != Kind::ConfigMap.as_str() {
        let message = format!("{group}/{kind} is no ConfigMap");
        return Err(Unresolved::Kind(message));
    }
    if !refs::permitted(world, from, own, Kind::ConfigMap, name) {
        let message = format!("ConfigMap {name} is in another namespace, which does not permit it");
        return Err(Unresolved::NotPermitted(message));
    }
    let bundle = world.cache.config_maps.get(name);
    let bundle = bundle.ok_or_else(|| {
        Unresolved::Invalid(format!("there is no ConfigMap {name} with an entry ca.crt"))
    })?;
    let certificates = bundle.spec.certificates.as_ref();
    let wrong = |problem: &String| Unresolved::Invalid(format!("ConfigMap {name}: {problem}"));
    certificates.cloned().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config_map, grant, pairs, world};

    #[test]
    fn only_a_good_bundle_that_may_be_used_is_one() {
        let certificate = &pairs()[0].0;
        let mut objects = vec![
            config_map("demo", "ca", certificate),
            config_map("far", "ca", certificate),
            config_map("demo", "bad", "x"),
        ];
        let ask = |objects: &[_], kind: (&str, &str), namespace: &str, name: &str| {
            let world = world(objects);
            let from = (Kind::Gateway, "demo");
            resolve(&world, from, kind, &NsName::new(namespace, name))
        };
        let map = ("", "ConfigMap");
        let found = ask(&objects, map, "demo", "ca").unwrap();
        assert_eq!(&*found, certificate.as_str());
        for (kind, namespace, name, expected) in [
            (
                ("", "Secret"),
                "demo",
                "ca",
                Unresolved::Kind("/Secret is no ConfigMap".into()),
            ),
            (
                ("x.io", "ConfigMap"),
                "demo",
                "ca",
                Unresolved::Kind("x.io/ConfigMap is no ConfigMap".into()),
            ),
            (
                map,
                "far",
                "ca",
                Unresolved::NotPermitted(
                    "ConfigMap far/ca is in another namespace, which does not permit it".into(),
                ),
            ),
            (
                map,
                "demo",
                "gone",
                Unresolved::Invalid("there is no ConfigMap demo/gone with an entry ca.crt".into()),
            ),
            (
                map,
                "demo",
                "bad",
                Unresolved::Invalid(
                    "ConfigMap demo/bad: ca.crt holds no certificate in PEM".into(),
                ),
            ),
        ] {
            assert_eq!(ask(&objects, kind, namespace, name).unwrap_err(), expected);
        }
        objects.push(grant("far", ("Gateway", "demo"), "ConfigMap"));
        assert!(ask(&objects, map, "far", "ca").is_ok());
    }

    #[test]
    fn namespaces_share_what_they_have_in_common() {
        let certificate = &pairs()[0].0;
        let all =
            ["a", "b"].map(|namespace| config_map(namespace, "kube-root-ca.crt", certificate));
        let world = world(&all);
        let [a, b] = ["a", "b"].map(|namespace| {
            let name = NsName::new(namespace, "kube-root-ca.crt");
            let own = (Kind::Gateway, namespace);
            resolve(&world, own, ("", "ConfigMap"), &name).unwrap()
        });
        assert!(Arc::ptr_eq(&a, &b));
    }
}
