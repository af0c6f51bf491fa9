//! The Gateway API's resource definitions, which waypoints and routes are made of.

use super::facts::Mesh;
use super::finding::{Finding, Severity};

const NEEDED: [&str; 3] = [
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
];
/// The first bundle that has all fields that are read.
const OLDEST: (u32, u32) = (1, 2);

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let install = "kubectl apply --server-side -f \
        https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml";
    let mut findings = Vec::new();
    if !mesh.facts.saw(&["CustomResourceDefinition"]) {
        return findings;
    }
    for name in NEEDED {
        let object = format!("CustomResourceDefinition {name}");
        match mesh.facts.definitions.get(name) {
            None => findings.push(Finding::new(
                Severity::Warning,
                "gateway-api",
                object,
                "is missing: there can be no waypoints and no routes, only layer 4",
                install,
            )),
            Some(Some(version)) if number(version).is_some_and(|it| it < OLDEST) => {
                findings.push(Finding::new(
                    Severity::Warning,
                    "gateway-api",
                    object,
                    format!(
                        "is of version {version}, and fields that routes use are missing in it"
                    ),
                    install,
                ))
            }
            Some(_) => {}
        }
    }
    findings
}

/// MAJOR and MINOR of `v1.2.3` or `v1.36.3+k3s1`.
pub(crate) fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found};

    #[test]
    fn what_is_missing_or_old_is_named() {
        let mut facts = facts();
        for (name, version) in NEEDED.into_iter().zip(["v1.6.3", "v1.1.0"]) {
            facts.definitions.insert(name.into(), Some(version.into()));
        }
        let expected = [
            "warning gateway-api CustomResourceDefinition gateways.gateway.networking.k8s.io",
            "warning gateway-api CustomResourceDefinition httproutes.gateway.networking.k8s.io",
        ];
        assert_eq!(found(&facts, None, check), expected);
        facts.definitions = NEEDED
            .into_iter()
            .map(|it| (it.to_owned(), Some("v1.6.3".into())))
            .collect();
        assert_eq!(found(&facts, None, check), Vec::<String>::new());
    }

    #[test]
    fn what_was_not_seen_is_not_missing() {
        let mut facts = facts();
        facts.unread = vec![("CustomResourceDefinition".into(), "forbidden".into())];
        assert_eq!(found(&facts, None, check), Vec::<String>::new());
    }

    #[test]
    fn versions() {
        assert_eq!(number("v1.36.3+k3s1"), Some((1, 36)));
        assert_eq!(number("1.30"), Some((1, 30)));
        assert_eq!(number("main"), None);
    }
}
