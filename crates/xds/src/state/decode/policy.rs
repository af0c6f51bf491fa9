//! `istio.security.Authorization`.
//!
//! A policy that fails validation is an error, and the error carries what stands in for the policy where no good version
//! of it is known: it matches everything as DENY, nothing as ALLOW, and applies to all that the policy might.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_policy::{Action, Clause, Match, Policy, Rule, ServiceAccountMatch, StringMatch};
use culvert_proto::istio::security as proto;
use culvert_proto::istio::security::string_match::MatchType;
use culvert_proto::istio::workload::Extension;
use culvert_proto::waypoint::ServiceRef;
use ipnet::IpNet;
use prost::Message as _;

use super::{Invalid, Result, invalid, ip, known, named, namespaced, port, required};
use crate::state::policies::{AttachedPolicy, Attachment, ServiceTarget};

/// The extension that says which services a policy is for; one each, its config a `culvert.waypoint.v1.ServiceRef`.
pub const TARGETS_EXTENSION: &str = "culvert.dev/targets";

const SERVICE_REF: &str = "type.googleapis.com/culvert.waypoint.v1.ServiceRef";

/// A policy that fails validation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct UnreadablePolicy {
    /// What is wrong with it.
    #[source]
    pub error: Invalid,
    /// What to enforce unless a good version is known.
    pub stand_in: Box<AttachedPolicy>,
}

/// Validates the policy that was sent under this name. Policies of the root namespace may apply to the whole mesh.
pub fn decode_policy(
    name: &Arc<str>,
    body: &[u8],
    root_namespace: &str,
) -> Result<AttachedPolicy, UnreadablePolicy> {
    let message = match proto::Authorization::decode(body) {
        Ok(message) => message,
        Err(error) => return Err(unreadable(name, error.into(), root_namespace)),
    };
    attached(name, &message).map_err(|error| stand_in(name, &message, error, root_namespace))
}

/// The stand-in for a policy of which only the name is known.
pub(in crate::state) fn unreadable(
    name: &Arc<str>,
    error: Invalid,
    root_namespace: &str,
) -> UnreadablePolicy {
    let policy = Policy::malformed(name.clone(), Action::Deny, error.to_string());
    UnreadablePolicy {
        stand_in: Box::new(AttachedPolicy {
            policy: Arc::new(policy),
            attachment: attachment_by_name(name, root_namespace),
            covers_services: true,
        }),
        error,
    }
}

fn attached(name: &Arc<str>, message: &proto::Authorization) -> Result<AttachedPolicy> {
    identity(name, message)?;
    let action = action(message)?;
    let mut rules = Vec::with_capacity(message.rules.len());
    for (index, rule) in message.rules.iter().enumerate() {
        rules.push(decode_rule(&format!("rules[{index}]"), rule)?);
    }
    let policy = Policy::new(name.clone(), action, rules).with_dry_run(message.dry_run);
    Ok(AttachedPolicy {
        policy: Arc::new(policy),
        attachment: attachment(message)?,
        covers_services: false,
    })
}

/// What stands in for a policy that could be read in part: with what is known of it, and closed in all the rest.
fn stand_in(
    name: &Arc<str>,
    message: &proto::Authorization,
    error: Invalid,
    root_namespace: &str,
) -> UnreadablePolicy {
    let action = action(message).unwrap_or(Action::Deny);
    let policy =
        Policy::malformed(name.clone(), action, error.to_string()).with_dry_run(message.dry_run);
    let (attachment, covers_services) = match attachment(message) {
        Ok(attachment) if identity(name, message).is_ok() => (attachment, false),
        _ => (attachment_by_name(name, root_namespace), true),
    };
    UnreadablePolicy {
        stand_in: Box::new(AttachedPolicy {
            policy: Arc::new(policy),
            attachment,
            covers_services,
        }),
        error,
    }
}

/// All that a policy of this name might apply to.
pub(in crate::state) fn attachment_by_name(name: &str, root_namespace: &str) -> Attachment {
    match name.split_once('/') {
        Some((namespace, _)) if !namespace.is_empty() && namespace != root_namespace => {
            Attachment::Namespace(namespace.into())
        }
        _ => Attachment::Mesh,
    }
}

/// The message says of itself what the resource's name says.
fn identity(name: &str, message: &proto::Authorization) -> Result<()> {
    let field = "namespace, name";
    named(
        field,
        name,
        &format!("{}/{}", message.namespace, message.name),
    )?;
    namespaced(field, name)
}

fn action(message: &proto::Authorization) -> Result<Action> {
    Ok(match known("action", message.action)? {
        proto::Action::Allow => Action::Allow,
        proto::Action::Deny => Action::Deny,
    })
}

fn attachment(message: &proto::Authorization) -> Result<Attachment> {
    let scope: proto::Scope = known("scope", message.scope)?;
    let mut targets = Vec::new();
    for (index, extension) in message.extensions.iter().enumerate() {
        // Other extensions carry information beside the rules and change nothing of what they mean.
        if extension.name == TARGETS_EXTENSION {
            targets.push(target(&format!("extensions[{index}]"), extension)?);
        }
    }
    if !targets.is_empty() {
        targets.sort();
        targets.dedup();
        return Ok(Attachment::Services(targets.into()));
    }
    Ok(match scope {
        proto::Scope::Global => Attachment::Mesh,
        proto::Scope::Namespace => Attachment::Namespace(message.namespace.as_str().into()),
        proto::Scope::WorkloadSelector => Attachment::Selected,
    })
}

fn target(field: &str, extension: &Extension) -> Result<ServiceTarget> {
    let Some(config) = extension
        .config
        .as_ref()
        .filter(|any| any.type_url == SERVICE_REF)
    else {
        return invalid(
            format_args!("{field}.config"),
            "is no culvert.waypoint.v1.ServiceRef",
        );
    };
    let target = match ServiceRef::decode(config.value.as_slice()) {
        Ok(target) => target,
        Err(error) => return invalid(format_args!("{field}.config"), error),
    };
    namespaced(format_args!("{field}.config.service"), &target.service)?;
    Ok(ServiceTarget {
        service: target.service.into(),
        port: match target.port {
            0 => None,
            number => Some(port(format_args!("{field}.config.port"), number)?),
        },
    })
}

fn decode_rule(field: &str, rule: &proto::Rule) -> Result<Rule> {
    let mut clauses = Vec::with_capacity(rule.clauses.len());
    for (index, clause) in rule.clauses.iter().enumerate() {
        let field = format!("{field}.clauses[{index}]");
        let mut matches = Vec::with_capacity(clause.matches.len());
        for (index, m) in clause.matches.iter().enumerate() {
            matches.push(decode_match(&format!("{field}.matches[{index}]"), m)?);
        }
        clauses.push(Clause { matches });
    }
    Ok(Rule { clauses })
}

fn decode_match(field: &str, m: &proto::Match) -> Result<Match> {
    let at = |name: &str| format!("{field}.{name}");
    Ok(Match {
        namespaces: each(&at("namespaces"), &m.namespaces, string_match)?,
        not_namespaces: each(&at("not_namespaces"), &m.not_namespaces, string_match)?,
        principals: each(&at("principals"), &m.principals, string_match)?,
        not_principals: each(&at("not_principals"), &m.not_principals, string_match)?,
        service_accounts: each(
            &at("service_accounts"),
            &m.service_accounts,
            service_account,
        )?,
        not_service_accounts: each(
            &at("not_service_accounts"),
            &m.not_service_accounts,
            service_account,
        )?,
        source_ips: each(&at("source_ips"), &m.source_ips, block)?,
        not_source_ips: each(&at("not_source_ips"), &m.not_source_ips, block)?,
        destination_ips: each(&at("destination_ips"), &m.destination_ips, block)?,
        not_destination_ips: each(&at("not_destination_ips"), &m.not_destination_ips, block)?,
        destination_ports: each(&at("destination_ports"), &m.destination_ports, |f, p| {
            port(f, *p)
        })?,
        not_destination_ports: each(
            &at("not_destination_ports"),
            &m.not_destination_ports,
            |f, p| port(f, *p),
        )?,
        unknown_conditions: m
            .extensions
            .iter()
            .map(|e| e.name.as_str().into())
            .collect(),
    })
}

fn each<T, U>(field: &str, list: &[T], decode: impl Fn(&str, &T) -> Result<U>) -> Result<Vec<U>> {
    list.iter()
        .enumerate()
        .map(|(index, value)| decode(&format!("{field}[{index}]"), value))
        .collect()
}

fn string_match(field: &str, m: &proto::StringMatch) -> Result<StringMatch> {
    let text = |text: &str| required(field, text).map(Box::from);
    Ok(match &m.match_type {
        None => return invalid(field, "says nothing that this version understands"),
        Some(MatchType::Exact(exact)) => StringMatch::Exact(text(exact)?),
        Some(MatchType::Prefix(prefix)) => StringMatch::Prefix(text(prefix)?),
        Some(MatchType::Suffix(suffix)) => StringMatch::Suffix(text(suffix)?),
        Some(MatchType::Presence(())) => StringMatch::Presence,
    })
}

fn service_account(field: &str, m: &proto::ServiceAccountMatch) -> Result<ServiceAccountMatch> {
    Ok(ServiceAccountMatch {
        namespace: required(format_args!("{field}.namespace"), &m.namespace)?.into(),
        service_account: required(format_args!("{field}.serviceAccount"), &m.service_account)?
            .into(),
    })
}

/// A block of addresses. One of IPv4 addresses in IPv6 form is a block of IPv4 addresses, as the addresses that it is
/// compared with are in canonical form.
fn block(field: &str, block: &proto::Address) -> Result<IpNet> {
    let address = ip(format_args!("{field}.address"), &block.address)?;
    let mapped = address.is_ipv4() && block.address.len() == 16;
    let length = if mapped {
        block.length.checked_sub(96)
    } else {
        Some(block.length)
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    match length.and_then(|length| u8::try_from(length).ok()) {
        Some(length) if length <= width => Ok(net(address, length)),
        _ => invalid(
            format_args!("{field}.length"),
            format_args!("{} is no prefix length", block.length),
        ),
    }
}

fn net(address: IpAddr, length: u8) -> IpNet {
    IpNet::new_assert(address, length)
}
