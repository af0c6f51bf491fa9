//! Other meshes: on pods of the mesh, and about to be injected into new ones.

use std::collections::BTreeMap;

use culvert_enrolment::Outside;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Mesh, workload};
use super::finding::{Finding, Severity};

/// Labels and annotations of a namespace by which another mesh takes its new pods.
const INJECTION: [(&str, &str, &str); 6] = [
    ("istio-injection", "enabled", "Istio"),
    ("istio.io/dataplane-mode", "ambient", "Istio"),
    ("linkerd.io/inject", "enabled", "Linkerd"),
    ("linkerd.io/inject", "ingress", "Linkerd"),
    ("kuma.io/sidecar-injection", "enabled", "Kuma"),
    ("consul.hashicorp.com/connect-inject", "true", "Consul"),
];

const PROXIES: [(&str, &str); 3] = [
    ("istio-proxy", "Istio"),
    ("linkerd-proxy", "Linkerd"),
    ("kuma-sidecar", "Kuma"),
];

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut workloads = BTreeMap::new();
    for (pod, decided) in mesh.concerned() {
        match decided {
            Err(Outside::Foreign(other)) => {
                workloads.insert(workload(pod), (true, other.to_string()))
            }
            Ok(()) => match proxy(pod) {
                Some(other) => workloads.insert(workload(pod), (false, other.to_owned())),
                None => None,
            },
            Err(_) => None,
        };
    }
    for (object, (outside, other)) in workloads {
        let (severity, message) = if outside {
            (
                Severity::Warning,
                format!("{other} has its pods; Culvert leaves them alone"),
            )
        } else {
            (
                Severity::Error,
                format!("its pods carry a proxy of {other} and are taken into Culvert as well"),
            )
        };
        let remedy = format!(
            "take it out of {other} and restart it, or set culvert.dev/dataplane-mode: none on its pods"
        );
        findings.push(Finding::new(
            severity,
            "other-mesh",
            object,
            message,
            remedy,
        ));
    }
    for namespace in &mesh.facts.namespaces {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        if !mesh.enrolled(name) || !mesh.concerns(name) {
            continue;
        }
        let metadata = &namespace.metadata;
        let says = |key: &str, value: &str| {
            let maps = [metadata.labels.as_ref(), metadata.annotations.as_ref()];
            maps.into_iter()
                .flatten()
                .any(|it| it.get(key).is_some_and(|it| it == value))
        };
        let revision = metadata
            .labels
            .as_ref()
            .is_some_and(|it| it.contains_key("istio.io/rev"));
        let injected = INJECTION
            .into_iter()
            .filter(|(key, value, _)| says(key, value));
        let injected = injected.map(|(key, _, other)| (key, other));
        for (key, other) in injected.chain(revision.then_some(("istio.io/rev", "Istio"))) {
            findings.push(Finding::new(
                Severity::Error,
                "other-mesh-injection",
                format!("Namespace {name}"),
                format!("new pods are taken by {other}, because of {key}, and Culvert leaves them alone then"),
                format!("remove {key} from the namespace before it is enrolled"),
            ));
        }
    }
    findings
}

/// Whose proxy is among the pod's containers.
fn proxy(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec
        .containers
        .iter()
        .chain(spec.init_containers.as_deref().unwrap_or_default());
    all.find_map(|it| {
        PROXIES
            .iter()
            .find(|(name, _)| it.name == *name)
            .map(|(_, mesh)| *mesh)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, found, pod};

    #[test]
    fn pods_of_another_mesh_are_named_and_its_wishes_on_the_namespace() {
        let mut facts = facts();
        let mut sidecar = pod("meshed", "a", &[]);
        let metadata = &mut sidecar.metadata;
        metadata.annotations = Some([("sidecar.istio.io/status".into(), "{}".into())].into());
        let mut hidden = pod("meshed", "b", &[]);
        hidden.spec.as_mut().expect("a spec").containers[0].name = "linkerd-proxy".into();
        facts.pods = vec![sidecar, hidden, pod("meshed", "c", &[])];
        assert_eq!(
            found(&facts, None, check),
            [
                "warning other-mesh Pod meshed/a",
                "error other-mesh Pod meshed/b"
            ]
        );
        assert_eq!(found(&facts, Some("plain"), check), Vec::<String>::new());

        facts.pods.clear();
        let labels = |facts: &mut crate::check::facts::Facts, n: usize| {
            let labels = facts.namespaces[n]
                .metadata
                .labels
                .as_mut()
                .expect("labels");
            labels.insert("istio-injection".into(), "enabled".into());
        };
        labels(&mut facts, 0);
        assert_eq!(found(&facts, None, check), Vec::<String>::new());
        assert_eq!(
            found(&facts, Some("plain"), check),
            ["error other-mesh-injection Namespace plain"]
        );
        labels(&mut facts, 1);
        assert_eq!(
            found(&facts, None, check),
            ["error other-mesh-injection Namespace meshed"]
        );
    }
}
