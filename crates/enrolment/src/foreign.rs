//! Marks of other meshes on a pod. Two meshes that redirect one pod's traffic would each take what the other sends.

use std::fmt;

use crate::Map;

/// Another mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// Istio by a sidecar.
    IstioSidecar,
    /// Istio's ambient mode.
    IstioAmbient,
    /// Linkerd.
    Linkerd,
    /// Kuma.
    Kuma,
    /// Consul.
    Consul,
}

/// Whose mark these annotations are. They are what each mesh's own injector or agent writes when it has a pod, not what
/// asks it to.
#[must_use]
pub fn mark(annotations: &Map) -> Option<Mesh> {
    let is = |key: &str, value: &str| annotations.get(key).is_some_and(|found| found == value);
    let has = |key: &str| annotations.get(key).is_some_and(|found| !found.is_empty());
    if has("sidecar.istio.io/status") {
        Some(Mesh::IstioSidecar)
    } else if is("ambient.istio.io/redirection", "enabled") {
        Some(Mesh::IstioAmbient)
    } else if has("linkerd.io/proxy-version") {
        Some(Mesh::Linkerd)
    } else if is("kuma.io/sidecar-injected", "true") {
        Some(Mesh::Kuma)
    } else if is("consul.hashicorp.com/connect-inject-status", "injected") {
        Some(Mesh::Consul)
    } else {
        None
    }
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IstioSidecar => "Istio (by a sidecar)",
            Self::IstioAmbient => "Istio (in ambient mode)",
            Self::Linkerd => "Linkerd",
            Self::Kuma => "Kuma",
            Self::Consul => "Consul",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_count_and_wishes_do_not() {
        for (key, value, expected) in [
            ("sidecar.istio.io/status", "{}", Some(Mesh::IstioSidecar)),
            (
                "ambient.istio.io/redirection",
                "enabled",
                Some(Mesh::IstioAmbient),
            ),
            ("ambient.istio.io/redirection", "disabled", None),
            (
                "linkerd.io/proxy-version",
                "stable-2.18",
                Some(Mesh::Linkerd),
            ),
            ("linkerd.io/inject", "enabled", None),
            ("kuma.io/sidecar-injected", "true", Some(Mesh::Kuma)),
            (
                "consul.hashicorp.com/connect-inject-status",
                "injected",
                Some(Mesh::Consul),
            ),
            ("sidecar.istio.io/inject", "true", None),
        ] {
            let annotations = [(key.to_owned(), value.to_owned())].into();
            assert_eq!(mark(&annotations), expected, "{key}={value}");
        }
    }
}
