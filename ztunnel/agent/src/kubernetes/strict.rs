//! Where this node's pods take no plaintext, as the controller says. Everything else about pods is the API's to say.
//!
//! Invariant: what the controller says changes nothing but that; its silence changes nothing.

use std::collections::HashMap;

use culvert_proto::type_url;
use culvert_xds::{Handler, Rejected, Update};

use super::node::Node;
use crate::source;

/// Tells the cache.
#[derive(Debug)]
pub struct StrictPods {
    node: Node,
    /// Namespaces and names by the names of resources.
    names: HashMap<String, (String, String)>,
}

impl StrictPods {
    /// Tell `node`.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let names = HashMap::new();
        Self { node, names }
    }
}

impl Handler for StrictPods {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        if type_url != type_url::POD {
            return source::not_for_an_agent(type_url, update);
        }
        let mut rejected = Vec::new();
        self.node.change(|cache| {
            for resource in update.resources {
                let name = resource.name;
                let pod = match source::parse(&name, &resource.body) {
                    Ok(pod) => pod,
                    Err(error) => {
                        rejected.push(Rejected { name, error });
                        continue;
                    }
                };
                let whose = (pod.namespace, pod.name);
                match pod.strict {
                    Some(strict) => cache.put_strict(whose.clone(), pod.addresses, strict),
                    None => cache.remove_strict(&whose),
                }
                self.names.insert(name.to_string(), whose);
            }
            for name in update.removed {
                if let Some(whose) = self.names.remove(&*name) {
                    cache.remove_strict(&whose);
                }
            }
            Vec::new()
        });
        rejected
    }
}

#[cfg(test)]
mod tests {
    use culvert_proto::node as proto;
    use culvert_xds::Resource;
    use prost::Message as _;
    use tokio::sync::mpsc;

    use super::*;

    fn update(name: &str, address: [u8; 4]) -> Update {
        let pod = proto::Pod {
            uid: name.into(),
            name: "a".into(),
            namespace: "ns".into(),
            service_account: "default".into(),
            addresses: vec![address.to_vec().into()],
            enrolled: true,
            strict: Some(proto::Strict {
                every_port: true,
                ports: vec![9090],
            }),
            ..Default::default()
        };
        Update {
            resources: vec![Resource {
                name: name.into(),
                version: "1".into(),
                body: pod.encode_to_vec().into(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn only_strictness_is_taken_and_it_goes_with_the_resource() {
        let (events, mut told) = mpsc::unbounded_channel();
        let node = Node::new(events);
        let mut pods = StrictPods::new(node.clone());
        assert!(
            pods.apply(type_url::POD, update("c//Pod/ns/a", [10, 0, 0, 5]))
                .is_empty()
        );
        let known = |node: &Node| node.look(super::super::cache::Cache::strict_pods);
        assert_eq!(known(&node), 1);
        assert!(told.try_recv().is_err(), "no pod comes from here");
        let removed = Update {
            removed: vec!["c//Pod/ns/a".into()],
            ..Default::default()
        };
        assert!(pods.apply(type_url::POD, removed).is_empty());
        assert_eq!(known(&node), 0);
        assert_eq!(pods.apply("other", update("x", [1, 2, 3, 4])).len(), 1);
    }
}
