//! What is installed: the rendered chart that this program carries, made to measure.
//!
//! Invariant: the objects are those of `manifests/culvert.yaml` and differ from them only in what was asked for.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The rendered chart.
const MANIFEST: &str = include_str!("../../../manifests/culvert.yaml");
/// What images are named in it, before the part's name.
const REGISTRY: &str = "localhost/culvert/culvert-";
/// The version that the chart was made for, which is this program's.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What may differ from the defaults.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub(crate) registry: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) trust_domain: Option<String>,
    pub(crate) cluster_cidrs: Vec<String>,
}

/// Objects by what has to be there before what.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) crds: Vec<Value>,
    /// All but the three workloads.
    pub(crate) settings: Vec<Value>,
    pub(crate) controller: Value,
    pub(crate) agent: Value,
    pub(crate) ztunnel: Value,
}

impl Objects {
    /// In the order in which they are applied.
    pub(crate) fn all(&self) -> Vec<&Value> {
        let workloads = [&self.controller, &self.agent, &self.ztunnel];
        self.crds
            .iter()
            .chain(&self.settings)
            .chain(workloads)
            .collect()
    }
}

/// The objects with these choices.
pub(crate) fn objects(choices: &Choices) -> Result<Objects> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(MANIFEST).context("manifests/culvert.yaml")?;
    let (mut crds, mut settings, mut workloads) = (Vec::new(), Vec::new(), Vec::new());
    for mut object in documents.into_iter().filter(|object| !object.is_null()) {
        images(&mut object, choices);
        match object["kind"].as_str() {
            Some("CustomResourceDefinition") => crds.push(object),
            Some("Deployment" | "DaemonSet") => workloads.push(object),
            _ => settings.push(object),
        }
    }
    // The namespace is there before what stands in it.
    settings.sort_by_key(|object| object["kind"] != "Namespace");
    let mut workload = |name: &str| {
        let index = workloads
            .iter()
            .position(|it| it["metadata"]["name"] == name);
        let index = index.with_context(|| format!("manifests/culvert.yaml has no {name}"))?;
        anyhow::Ok(workloads.swap_remove(index))
    };
    Ok(Objects {
        crds,
        settings,
        controller: workload("culvert-controller")?,
        agent: workload("culvert-agent")?,
        ztunnel: workload("culvert-ztunnel")?,
    })
}

/// Every text that names one of our images, wherever it stands.
fn images(value: &mut Value, choices: &Choices) {
    match value {
        Value::String(text) => {
            if let Some((part, tag)) = text
                .strip_prefix(REGISTRY)
                .and_then(|it| it.split_once(':'))
            {
                let registry = choices.registry.as_deref().unwrap_or("localhost/culvert");
                let registry = registry.trim_end_matches('/');
                let tag = choices.tag.as_deref().unwrap_or(tag);
                *text = format!("{registry}/culvert-{part}:{tag}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| images(item, choices)),
        Value::Object(fields) => fields.values_mut().for_each(|item| images(item, choices)),
        _ => {}
    }
}

/// The mesh's settings, as far as they were chosen.
pub(crate) fn mesh_config(choices: &Choices) -> Value {
    let mut spec = json!({});
    if let Some(domain) = &choices.trust_domain {
        spec["trustDomain"] = json!(domain);
    }
    if !choices.cluster_cidrs.is_empty() {
        spec["clusterCIDRs"] = json!(choices.cluster_cidrs);
    }
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "MeshConfig",
        "metadata": { "name": "default", "labels": { "app.kubernetes.io/part-of": "culvert" } },
        "spec": spec,
    })
}

/// The classes of Gateways that the controller deploys.
pub(crate) fn gateway_classes() -> [Value; 2] {
    let class = |name: &str, controller: &str, description: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": { "name": name, "labels": { "app.kubernetes.io/part-of": "culvert" } },
            "spec": { "controllerName": controller, "description": description },
        })
    };
    [
        class(
            "culvert-waypoint",
            "culvert.dev/waypoint",
            "A waypoint, deployed by Culvert in the Gateway's namespace",
        ),
        class(
            "culvert",
            "culvert.dev/controller",
            "A gateway into the mesh, deployed in the Gateway's namespace",
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn all_that_is_rendered_is_there_and_of_this_version() {
        let objects = objects(&Choices::default()).unwrap();
        let documents = MANIFEST
            .lines()
            .filter(|line| line.starts_with("kind: "))
            .count();
        assert_eq!(objects.all().len(), documents);
        assert_eq!(objects.settings[0]["kind"], "Namespace");
        for workload in [&objects.controller, &objects.agent, &objects.ztunnel] {
            let image = workload
                .pointer("/spec/template/spec/containers/0/image")
                .unwrap();
            let name = workload["metadata"]["name"].as_str().unwrap();
            assert_eq!(*image, json!(format!("localhost/culvert/{name}:{VERSION}")));
            let label = &workload["metadata"]["labels"]["app.kubernetes.io/version"];
            assert_eq!(*label, json!(VERSION), "the version of {name}");
        }
    }

    #[test]
    fn the_classes_are_those_of_the_chart() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/chart/templates/mesh.yaml"
        );
        let chart = std::fs::read_to_string(file).unwrap();
        for class in gateway_classes() {
            let text = |pointer: &str| class.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            let (name, controller) = (text("/metadata/name"), text("/spec/controllerName"));
            let rest = chart.split_once(&format!("\n  name: {name}\n")).unwrap().1;
            let spec = rest.split_once("\nspec:\n").unwrap().1;
            let description = text("/spec/description");
            let expected =
                format!("  controllerName: {controller}\n  description: {description}\n");
            assert!(spec.starts_with(&expected), "{name}: {spec}");
        }
    }

    #[test]
    fn the_definitions_are_those_of_the_tree() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");
        let mut files = std::collections::BTreeMap::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for crd in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                files.insert(crd["metadata"]["name"].to_string(), crd);
            }
        }
        assert!(files.len() >= 3, "{:?}", files.keys());
        let embedded = objects(&Choices::default()).unwrap().crds;
        let embedded = embedded.into_iter();
        let embedded = embedded.map(|crd| (crd["metadata"]["name"].to_string(), crd));
        let embedded: std::collections::BTreeMap<_, _> = embedded.collect();
        assert!(
            embedded == files,
            "manifests/culvert.yaml is stale: make manifests"
        );
    }

    #[test]
    fn registry_and_tag_hold_wherever_an_image_is_named() {
        let choices = Choices {
            registry: Some("registry.example:5000/mesh/".into()),
            tag: Some("9".into()),
            ..Choices::default()
        };
        let text = serde_json::to_string(&objects(&choices).unwrap().all()).unwrap();
        assert!(!text.contains(REGISTRY));
        for part in ["agent", "ztunnel", "controller", "waypoint"] {
            let image = format!("\"registry.example:5000/mesh/culvert-{part}:9\"");
            assert!(text.contains(&image), "{image}");
        }
    }
}
