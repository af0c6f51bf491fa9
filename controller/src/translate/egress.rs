//! EgressPolicies: what ztunnels let the workloads that name them reach outside of the mesh.

use culvert_proto::node::{
    EgressBlock, EgressPeer, EgressPolicy, EgressPorts, EgressRule, egress_peer::Peer,
};

use super::finding::{ConditionType, Finding, Findings};
use super::resource::{Message, Resource};
use super::{enrolment, waypoint};
use crate::api::{self, EgressPolicySpec};
use crate::model::{Key, Kind, Obj, Pod};
use crate::path::FieldPath;
use crate::world::World;

type Policy = Obj<EgressPolicySpec>;

/// How many pods a finding names.
const NAMED: usize = 3;

/// Names of the policies that hold for a pod, as its record lists them: those of its namespace and of the root namespace
/// that select it.
#[must_use]
pub fn policies_of(world: &World, pod: &Obj<Pod>) -> Vec<String> {
    let (namespace, root) = (&pod.meta.name.namespace, world.settings.root_namespace());
    let cache = &world.cache.egress_policies;
    let elsewhere = (**namespace != *root).then(|| cache.of(root));
    let selected = cache
        .of(namespace)
        .chain(elsewhere.into_iter().flatten())
        .filter(|policy| selects(policy, pod));
    let mut names: Vec<_> = selected
        .map(|policy| policy.meta.name.to_string())
        .collect();
    names.sort_unstable();
    names
}

fn selects(policy: &Policy, pod: &Obj<Pod>) -> bool {
    let selector = policy.spec.selector.as_ref();
    selector.is_none_or(|selector| selector.matches(&pod.meta.labels))
}

/// The policy as it is enforced.
#[must_use]
pub fn of(world: &World, policy: &Policy) -> (Option<Resource>, Vec<Finding>) {
    let name = &policy.meta.name;
    let mut findings = Findings::new(Key {
        kind: Kind::EgressPolicy,
        name: name.clone(),
    });
    look_at_exceptions(policy, &mut findings);
    look_for_outsiders(world, policy, &mut findings);
    let record = EgressPolicy {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        rules: policy.spec.egress.iter().map(rule).collect(),
    };
    let resource = Resource {
        name: name.to_string().into(),
        aliases: Vec::new(),
        message: Message::EgressPolicy(record),
    };
    (Some(resource), findings.into_vec())
}

fn rule(rule: &api::EgressRule) -> EgressRule {
    let ports = |ports: &api::EgressPort| EgressPorts {
        first: ports.port.get().into(),
        last: ports.end_port.unwrap_or(ports.port).get().into(),
    };
    EgressRule {
        to: rule.to.iter().map(peer).collect(),
        ports: rule.ports.iter().map(ports).collect(),
    }
}

/// Either was found when the object was admitted.
fn peer(peer: &api::EgressPeer) -> EgressPeer {
    let block = peer.cidr.map(|cidr| {
        Peer::Block(EgressBlock {
            cidr: cidr.to_string(),
            except: peer.except.iter().map(ToString::to_string).collect(),
        })
    });
    EgressPeer {
        peer: block.or_else(|| peer.host.clone().map(Peer::Host)),
    }
}

/// An exception from a block that it is no part of excepts nothing, which is hardly what was meant.
fn look_at_exceptions(policy: &Policy, findings: &mut Findings) {
    for (i, rule) in policy.spec.egress.iter().enumerate() {
        for (j, peer) in rule.to.iter().enumerate() {
            for (k, except) in peer.except.iter().enumerate() {
                let Some(cidr) = peer.cidr.filter(|cidr| !cidr.get().contains(&except.get()))
                else {
                    continue;
                };
                let at = FieldPath::of("spec.egress").index(i).key("to").index(j);
                findings.note(
                    ConditionType::Enforced,
                    "NoEffect",
                    at.key("except").index(k),
                    format!("{except} is no part of {cidr}, so it excepts nothing"),
                );
            }
        }
    }
}

/// Pods that a policy of their namespace selects and that are not in the mesh: nobody holds them to it.
fn look_for_outsiders(world: &World, policy: &Policy, findings: &mut Findings) {
    let namespace = &policy.meta.name.namespace;
    if **namespace == *world.settings.root_namespace() {
        // For everybody, and so for those outside of the mesh by intent.
        return;
    }
    let pods = world.cache.pods.of(namespace);
    let outside = pods.filter(|pod| {
        let runs = !pod.spec.ended && !waypoint::is_instance(world, pod);
        runs && selects(policy, pod) && !enrolment::is_enrolled(world, pod)
    });
    let outside: Vec<_> = outside.map(|pod| &*pod.meta.name.name).collect();
    if outside.is_empty() {
        return;
    }
    let named = outside.get(..NAMED).unwrap_or(&outside).join(", ");
    let more = match outside.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    findings.note(
        ConditionType::Enforced,
        "NotInMesh",
        FieldPath::of("spec.selector"),
        format!("selects pods that are not in the mesh and reach what they like: {named}{more}"),
    );
}

#[cfg(test)]
mod tests;
