//! `culvert.node.v1.EgressPolicy`.

use std::sync::Arc;

use culvert_policy::{EgressBlock, EgressPolicy, EgressRule, HostPattern};
use culvert_proto::node as proto;
use culvert_proto::node::egress_peer::Peer;
use ipnet::IpNet;
use prost::Message as _;

use super::{Result, invalid, named, namespaced, port};

/// Validates the policy that was sent under this name.
pub(in crate::state) fn decode_egress_policy(name: &Arc<str>, body: &[u8]) -> Result<EgressPolicy> {
    let message = proto::EgressPolicy::decode(body)?;
    let field = "namespace, name";
    named(
        field,
        name,
        &format!("{}/{}", message.namespace, message.name),
    )?;
    namespaced(field, name)?;
    let rules = message.rules.iter().enumerate();
    let rules: Result<_> = rules
        .map(|(index, raw)| rule(&format!("rules[{index}]"), raw))
        .collect();
    Ok(EgressPolicy {
        name: name.clone(),
        rules: rules?,
    })
}

fn rule(field: &str, raw: &proto::EgressRule) -> Result<EgressRule> {
    let mut rule = EgressRule::default();
    for (index, to) in raw.to.iter().enumerate() {
        let field = format!("{field}.to[{index}]");
        match &to.peer {
            None => return invalid(field, "says nothing that this version understands"),
            Some(Peer::Host(host)) => match HostPattern::parse(host) {
                Ok(host) => rule.hosts.push(host),
                Err(error) => return invalid(format_args!("{field}.host"), error),
            },
            Some(Peer::Block(raw)) => rule.blocks.push(block(&field, raw)?),
        }
    }
    for (index, raw) in raw.ports.iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let first = port(format_args!("{field}.first"), raw.first)?;
        let last = port(format_args!("{field}.last"), raw.last)?;
        if last < first {
            return invalid(format_args!("{field}.last"), "is lower than first");
        }
        rule.ports.push(first..=last);
    }
    Ok(rule)
}

fn block(field: &str, raw: &proto::EgressBlock) -> Result<EgressBlock> {
    let except = raw.except.iter().enumerate();
    let except: Result<_> = except
        .map(|(index, text)| net(&format!("{field}.block.except[{index}]"), text))
        .collect();
    Ok(EgressBlock {
        cidr: net(&format!("{field}.block.cidr"), &raw.cidr)?,
        except: except?,
    })
}

fn net(field: &str, text: &str) -> Result<IpNet> {
    text.parse()
        .or_else(|error| invalid(field, format_args!("{text:?}: {error}")))
}
