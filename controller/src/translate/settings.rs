//! What everybody is told of the whole mesh.

use culvert_proto::node::{MeshSettings, TrustBundle};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use crate::model::{Key, Kind, NsName};
use crate::path::FieldPath;
use crate::world::World;

const NAME: &str = "default";

/// The mesh's settings.
#[must_use]
pub fn of(world: &World) -> Resource {
    let settings = &world.settings;
    // Told only where it matters, so that the settings of others do not change with each policy.
    let network_policy_namespaces = if settings.same_node_in_process() {
        let policies = &world.cache.network_policies;
        policies.namespaces().map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    let record = MeshSettings {
        trust_domain: settings.trust_domain().to_owned(),
        cluster_id: settings.cluster_id().to_owned(),
        root_namespace: settings.root_namespace().to_owned(),
        cluster_cidrs: settings.cluster_cidrs(),
        cluster_domain: settings.cluster_domain().to_owned(),
        refuse_udp_when_strict: settings.refuse_udp_when_strict(),
        same_node_in_process: settings.same_node_in_process(),
        network_policy_namespaces,
        registry_only: settings.registry_only(),
    };
    named(Message::MeshSettings(record))
}

/// The certificates that everybody trusts.
#[must_use]
pub fn trust_bundle(trust_domain: &str, roots: Vec<String>) -> Resource {
    let trust_domain = trust_domain.to_owned();
    named(Message::TrustBundle(TrustBundle {
        trust_domain,
        roots,
    }))
}

/// What is wrong with the MeshConfig.
#[must_use]
pub fn findings(world: &World) -> Vec<Finding> {
    let name = NsName::new("", NAME);
    let mut findings = Findings::new(Key {
        kind: Kind::MeshConfig,
        name,
    });
    for (field, own) in world.settings.unchangeable() {
        let message = format!("stays {own:?} until the controller is started again");
        let field = FieldPath::of("spec").key(field);
        findings.error(ConditionType::Accepted, "Immutable", field, message);
    }
    findings.into_vec()
}

fn named(message: Message) -> Resource {
    Resource {
        name: NAME.into(),
        aliases: Vec::new(),
        message,
    }
}
