//! AuthorizationPolicies.
//!
//! Attributes of HTTP are not evaluated by what this makes: in an ALLOW policy, what has one is left out and so permits
//! nothing; in a DENY policy, they are left out of what has them, which so denies more.

use culvert_proto::istio::security::{
    self as wire, Authorization, Clause, Match, Scope, ServiceAccountMatch, StringMatch,
    string_match::MatchType,
};
use culvert_proto::istio::workload::Extension;
use culvert_proto::waypoint::ServiceRef;
use ipnet::IpNet;
use prost::Message as _;

use super::addressed::Addressed;
use super::finding::{ConditionType, Finding, Findings};
use super::peer_authentication::anyone;
use super::resource::{Message, Resource};
use super::{names, refs, waypoint};
use crate::admit::{blocks, needs_http};
use crate::api::{Action, AuthorizationPolicySpec, Condition, Operation, Port, Rule, Source};
use crate::model::{Key, Kind, NsName, Obj, Pod};
use crate::path::FieldPath;
use crate::world::{Consumer, World};

/// One extension for each service that a policy is for.
const TARGETS: &str = "culvert.dev/targets";

type Policy = Obj<AuthorizationPolicySpec>;

/// Names of the policies that hold for a pod, as its record lists them.
#[must_use]
pub fn policies_of(world: &World, pod: &Obj<Pod>) -> Vec<String> {
    let (namespace, root) = (&pod.meta.name.namespace, world.settings.root_namespace());
    let cache = &world.cache.authorization_policies;
    let elsewhere = (**namespace != *root).then(|| cache.of(root));
    let selected = cache
        .of(namespace)
        .chain(elsewhere.into_iter().flatten())
        .filter(|policy| {
            let selector = policy.spec.selector.as_ref();
            policy.spec.target_refs.is_empty()
                && selector.is_none_or(|s| s.matches(&pod.meta.labels))
        });
    let mut names: Vec<_> = selected
        .map(|policy| policy.meta.name.to_string())
        .collect();
    if let Some(gateway) = waypoint::usable_for(world, &Consumer::Pod(pod.meta.name.clone())) {
        let for_gateway = cache.of(&gateway.namespace).filter(|policy| {
            let mut targets = policy.spec.target_refs.iter();
            targets.any(|t| t.kind == "Gateway" && *t.name == *gateway.name)
        });
        names.extend(for_gateway.map(|policy| policy.meta.name.to_string()));
    }
    names.sort_unstable();
    names
}

/// The policy as it is evaluated; none if what it is for does not exist.
#[must_use]
pub fn of(world: &World, policy: &Policy) -> (Option<Resource>, Vec<Finding>) {
    let name = &policy.meta.name;
    let spec = &policy.spec;
    let mut findings = Findings::new(Key {
        kind: Kind::AuthorizationPolicy,
        name: name.clone(),
    });
    let extensions = match targets(world, policy, &mut findings) {
        None => return (None, findings.into_vec()),
        Some(targets) => targets.iter().map(extension).collect(),
    };
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|s| !s.match_labels.is_empty());
    let scope = if selects || !spec.target_refs.is_empty() {
        Scope::WorkloadSelector
    } else if *name.namespace == *world.settings.root_namespace() {
        Scope::Global
    } else {
        Scope::Namespace
    };
    let action = match spec.action {
        Action::Allow => wire::Action::Allow,
        Action::Deny => wire::Action::Deny,
    };
    for (i, _) in spec
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule_needs_http(rule))
    {
        let field = FieldPath::of("spec.rules").index(i);
        let message = match spec.action {
            Action::Allow => {
                "attributes of HTTP are not evaluated: what has one here permits nothing"
            }
            Action::Deny => "attributes of HTTP are not evaluated: this denies as if it had none",
        };
        findings.note(ConditionType::Enforced, "HTTPNotEvaluated", field, message);
    }
    let record = Authorization {
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        scope: scope.into(),
        action: action.into(),
        rules: spec
            .rules
            .iter()
            .filter_map(|r| rule(r, spec.action, &name.namespace))
            .collect(),
        extensions,
        ..Authorization::default()
    };
    let resource = Resource {
        name: name.to_string().into(),
        aliases: Vec::new(),
        message: Message::Authorization(record),
    };
    (Some(resource), findings.into_vec())
}

/// Services that a policy is for; `None` if it names targets and none of them exists.
fn targets(world: &World, policy: &Policy, findings: &mut Findings) -> Option<Vec<ServiceRef>> {
    let namespace = &policy.meta.name.namespace;
    let resolved = refs::targets(world, namespace, &policy.spec.target_refs, findings);
    let mut found = policy.spec.target_refs.is_empty() || !resolved.is_empty();
    for (i, target) in policy.spec.target_refs.iter().enumerate() {
        let at = FieldPath::of("spec.targetRefs").index(i);
        let name = NsName::new(namespace.clone(), target.name.as_str());
        let consumer = match target.kind.as_str() {
            "Service" => Consumer::Service(name),
            "ServiceEntry" => Consumer::Entry(name),
            _ => continue,
        };
        let named = resolved.service_names.contains(&consumer);
        if named && waypoint::usable_for(world, &consumer).is_none() {
            let effect = match consumer {
                Consumer::Entry(_) => "nobody may call it",
                _ => "its pods admit nobody",
            };
            let message = format!("{consumer} has no waypoint that could decide: {effect}");
            findings.error(
                ConditionType::Enforced,
                "NoWaypoint",
                at.key("name"),
                message,
            );
        }
    }
    let mut services = resolved.services;
    for (i, target) in policy
        .spec
        .target_refs
        .iter()
        .enumerate()
        .filter(|(_, t)| t.kind == "Gateway")
    {
        let gateway = NsName::new(namespace.clone(), target.name.as_str());
        let exists = world
            .cache
            .gateways
            .get(&gateway)
            .is_some_and(|g| g.spec.is_ours());
        if exists {
            found = true;
            services.extend(services_of(world, &gateway));
        } else {
            let at = FieldPath::of("spec.targetRefs").index(i).key("name");
            refs::not_found(
                &at,
                "Gateway of class culvert or culvert-waypoint",
                &gateway,
                findings,
            );
        }
    }
    found.then_some(services)
}

fn services_of(world: &World, gateway: &NsName) -> Vec<ServiceRef> {
    let uses =
        |consumer: &Consumer| waypoint::usable_for(world, consumer).as_ref() == Some(gateway);
    let reference = |name: &NsName| ServiceRef {
        service: names::service(&world.settings, name),
        port: 0,
    };
    let cache = &world.cache;
    let services = cache.services.iter().map(|service| &service.meta.name);
    let services = services.filter(|name| uses(&Consumer::Service((*name).clone())));
    let mut references: Vec<_> = services.map(reference).collect();
    let entries = cache.entries.iter();
    for entry in entries.filter(|entry| uses(&Consumer::Entry(entry.meta.name.clone()))) {
        references.extend(Addressed::Entry(entry).references(world, 0));
    }
    references
}

fn extension(target: &ServiceRef) -> Extension {
    let config = prost_types::Any {
        type_url: "type.googleapis.com/culvert.waypoint.v1.ServiceRef".into(),
        value: target.encode_to_vec(),
    };
    Extension {
        name: TARGETS.into(),
        config: Some(config),
    }
}

/// Matches every connection, whoever reads it and however it takes what is empty.
pub(super) fn everything() -> wire::Rule {
    let matches = vec![
        Match {
            principals: vec![anyone()],
            ..Match::default()
        },
        Match {
            not_principals: vec![anyone()],
            ..Match::default()
        },
    ];
    wire::Rule {
        clauses: vec![Clause { matches }],
    }
}

fn rule_needs_http(rule: &Rule) -> bool {
    rule.from.iter().any(|from| from.source.needs_http())
        || rule.to.iter().any(|to| to.operation.needs_http())
        || rule.when.iter().any(|condition| needs_http(&condition.key))
}

/// A rule, or none of an ALLOW policy's that only HTTP could satisfy.
fn rule(rule: &Rule, action: Action, namespace: &str) -> Option<wire::Rule> {
    let from = rule
        .from
        .iter()
        .map(|from| (source(&from.source, namespace), from.source.needs_http()));
    let to = rule
        .to
        .iter()
        .map(|to| (operation(&to.operation), to.operation.needs_http()));
    let mut clauses = Vec::new();
    clauses.extend(alternatives(from.collect(), action)?);
    clauses.extend(alternatives(to.collect(), action)?);
    for c in &rule.when {
        match (needs_http(&c.key), action) {
            (true, Action::Allow) => return None,
            (true, Action::Deny) => {}
            (false, _) => clauses.push(Clause {
                matches: vec![condition(c, namespace)],
            }),
        }
    }
    if clauses.is_empty() {
        return Some(everything());
    }
    Some(wire::Rule { clauses })
}

/// Any of these must match. `Some(None)`: all do. `None`: none can.
fn alternatives(matches: Vec<(Match, bool)>, action: Action) -> Option<Option<Clause>> {
    if matches.is_empty() {
        return Some(None);
    }
    if action == Action::Deny && matches.iter().any(|(m, _)| *m == Match::default()) {
        return Some(None);
    }
    let kept = matches
        .into_iter()
        .filter(|(_, http)| action == Action::Deny || !http);
    let matches: Vec<_> = kept.map(|(m, _)| m).collect();
    (!matches.is_empty()).then_some(Some(Clause { matches }))
}

fn source(source: &Source, namespace: &str) -> Match {
    Match {
        principals: strings(&source.principals),
        not_principals: strings(&source.not_principals),
        namespaces: strings(&source.namespaces),
        not_namespaces: strings(&source.not_namespaces),
        service_accounts: service_accounts(&source.service_accounts, namespace),
        not_service_accounts: service_accounts(&source.not_service_accounts, namespace),
        source_ips: source.ip_blocks.iter().map(|b| block(b.get())).collect(),
        not_source_ips: source
            .not_ip_blocks
            .iter()
            .map(|b| block(b.get()))
            .collect(),
        ..Match::default()
    }
}

fn operation(operation: &Operation) -> Match {
    let ports = |ports: &[Port]| ports.iter().map(|port| port.get().into()).collect();
    Match {
        destination_ports: ports(&operation.ports),
        not_destination_ports: ports(&operation.not_ports),
        ..Match::default()
    }
}

fn condition(condition: &Condition, namespace: &str) -> Match {
    let (values, not_values) = (&condition.values, &condition.not_values);
    let nets = |values: &[String]| blocks(values).into_iter().map(block).collect();
    let ports = |values: &[String]| values.iter().filter_map(|v| v.parse().ok()).collect();
    let mut m = Match::default();
    match condition.key.as_str() {
        "source.ip" => (m.source_ips, m.not_source_ips) = (nets(values), nets(not_values)),
        "destination.ip" => {
            (m.destination_ips, m.not_destination_ips) = (nets(values), nets(not_values));
        }
        "destination.port" => {
            (m.destination_ports, m.not_destination_ports) = (ports(values), ports(not_values));
        }
        "source.namespace" => {
            (m.namespaces, m.not_namespaces) = (strings(values), strings(not_values));
        }
        "source.principal" => {
            (m.principals, m.not_principals) = (strings(values), strings(not_values));
        }
        _ => {
            m.service_accounts = service_accounts(values, namespace);
            m.not_service_accounts = service_accounts(not_values, namespace);
        }
    }
    m
}

fn strings(values: &[String]) -> Vec<StringMatch> {
    let string = |value: &String| {
        let kind = match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(""), _) => MatchType::Presence(()),
            (_, Some(prefix)) => MatchType::Prefix(prefix.into()),
            (Some(suffix), None) => MatchType::Suffix(suffix.into()),
            (None, None) => MatchType::Exact(value.clone()),
        };
        StringMatch {
            match_type: Some(kind),
        }
    };
    values.iter().map(string).collect()
}

fn service_accounts(values: &[String], namespace: &str) -> Vec<ServiceAccountMatch> {
    let one = |value: &String| {
        let (namespace, name) = value.split_once('/').unwrap_or((namespace, value));
        ServiceAccountMatch {
            namespace: namespace.into(),
            service_account: name.into(),
        }
    };
    values.iter().map(one).collect()
}

fn block(net: IpNet) -> wire::Address {
    let net = net.trunc();
    wire::Address {
        address: names::address_bytes(net.network()),
        length: net.prefix_len().into(),
    }
}

#[cfg(test)]
mod tests;
