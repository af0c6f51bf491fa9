//! Which ports of a pod refuse plain text, as PeerAuthentications say.

use std::collections::BTreeMap;

use culvert_enrolment::{self as enrolment, Map, SYSTEM_NAMESPACE};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::facts::{Facts, annotations, labels, namespace};
use super::selector::includes;

/// All PeerAuthentications, in the order in which they count.
#[derive(Debug)]
pub(crate) struct MutualTls {
    root: String,
    all: Vec<Policy>,
}

#[derive(Debug)]
struct Policy {
    namespace: String,
    selector: Option<Map>,
    mode: Mode,
    ports: BTreeMap<u16, Mode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Unset,
    Permissive,
    Strict,
}

impl MutualTls {
    pub(crate) fn of(facts: &Facts) -> Self {
        let mut objects: Vec<_> = facts.others("PeerAuthentication").iter().collect();
        let text =
            |it: &Value, key: &str| it["metadata"][key].as_str().unwrap_or_default().to_owned();
        objects.sort_by_key(|it| (text(it, "creationTimestamp"), text(it, "name")));
        let config = facts
            .others("MeshConfig")
            .iter()
            .find(|it| it["metadata"]["name"] == "default");
        let root = config.and_then(|it| it["spec"]["rootNamespace"].as_str());
        let all = objects.into_iter().map(|it| {
            let spec = &it["spec"];
            let selector = spec["selector"]["matchLabels"].as_object();
            let ports = spec["portLevelMtls"].as_object().into_iter().flatten();
            Policy {
                namespace: text(it, "namespace"),
                selector: selector.map(|it| {
                    it.iter()
                        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                        .collect()
                }),
                mode: mode(&spec["mtls"]),
                ports: ports
                    .filter_map(|(port, it)| Some((port.parse().ok()?, mode(it))))
                    .collect(),
            }
        });
        Self {
            all: all.collect(),
            root: root.unwrap_or(SYSTEM_NAMESPACE).to_owned(),
        }
    }

    /// Whether clients outside the mesh are refused at this port of a pod of the mesh.
    pub(crate) fn refuses_plain(&self, pod: &Pod, port: u16) -> bool {
        let (captured, _) = enrolment::options(annotations(pod));
        if captured.exclude_inbound_ports.contains(&port) {
            return false;
        }
        let here = |it: &&Policy| it.namespace == namespace(pod);
        let selects = |it: &&Policy| {
            it.selector
                .as_ref()
                .is_some_and(|it| includes(labels(pod), it))
        };
        let workload = self.all.iter().find(|it| here(it) && selects(it));
        let wide = |place: &str| {
            self.all
                .iter()
                .find(|it| it.namespace == place && it.selector.is_none())
        };
        let words = [
            workload.and_then(|it| it.ports.get(&port).copied()),
            workload.map(|it| it.mode),
            wide(namespace(pod)).map(|it| it.mode),
            wide(&self.root).map(|it| it.mode),
        ];
        words.into_iter().flatten().find(|it| *it != Mode::Unset) == Some(Mode::Strict)
    }
}

fn mode(tls: &Value) -> Mode {
    match tls["mode"].as_str() {
        Some("STRICT") => Mode::Strict,
        Some("PERMISSIVE") => Mode::Permissive,
        _ => Mode::Unset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{facts, pod};
    use serde_json::json;

    fn policy(namespace: &str, name: &str, spec: &Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
    }

    #[test]
    fn the_nearest_word_counts() {
        let strict = json!({"mtls": {"mode": "STRICT"}});
        let permissive = json!({"mtls": {"mode": "PERMISSIVE"}});
        let port = json!({"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}});
        let mesh = || policy("culvert-system", "m", &strict);
        for (all, port_8080, port_9090) in [
            (vec![], false, false),
            (vec![mesh()], true, true),
            (
                vec![mesh(), policy("meshed", "n", &permissive)],
                false,
                false,
            ),
            (vec![mesh(), policy("plain", "n", &permissive)], true, true),
            (
                vec![
                    mesh(),
                    policy("meshed", "n", &json!({"mtls": {"mode": "UNSET"}})),
                ],
                true,
                true,
            ),
            (vec![mesh(), policy("meshed", "p", &port)], false, true),
            (
                vec![
                    policy("meshed", "a", &permissive),
                    policy("meshed", "b", &strict),
                ],
                false,
                false,
            ),
        ] {
            let mut facts = facts();
            facts.others.insert("PeerAuthentication", all.clone());
            let tls = MutualTls::of(&facts);
            let web = pod("meshed", "web", &[("app", "web")]);
            let words = (tls.refuses_plain(&web, 8080), tls.refuses_plain(&web, 9090));
            assert_eq!(words, (port_8080, port_9090), "{all:?}");
            let mut excluded = web;
            let annotation = ("culvert.dev/exclude-inbound-ports".into(), "9090".into());
            excluded.metadata.annotations = Some([annotation].into());
            assert!(!tls.refuses_plain(&excluded, 9090));
        }
    }
}
