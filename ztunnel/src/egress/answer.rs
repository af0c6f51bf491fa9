//! Addresses out of a resolver's answer. Pure.
//!
//! Invariant: only addresses count that the answer's own chain of aliases leads to from the name that was asked for.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// What fits every path without fragments (DNS flag day 2020).
const MAX_UDP: u16 = 1232;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 16;

/// The addresses of a name, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// The shortest of the records that led there.
    pub(super) ttl: Duration,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These addresses, or that there are none.
    Found(Found),
    /// It did not fit.
    Truncated,
    /// The resolver could not say.
    Failed(String),
}

/// A question for the addresses of a name.
pub(super) fn question(id: u16, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let name = Name::from_str(&format!("{name}.")).ok()?;
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP);
    message.set_edns(edns);
    message.to_vec().ok()
}

/// The name in a question for addresses: lower case, no final dot.
pub(super) fn asked(packet: &[u8]) -> Option<(String, RecordType)> {
    let message = Message::from_vec(packet).ok()?;
    if message.metadata.message_type != MessageType::Query {
        return None;
    }
    let [query] = message.queries.as_slice() else {
        return None;
    };
    let wanted = matches!(query.query_type(), RecordType::A | RecordType::AAAA);
    (wanted && query.query_class() == DNSClass::IN)
        .then(|| (text(query.name()), query.query_type()))
}

/// What an answer to a question for the addresses of `name` says; `None` if it answers another one.
pub(super) fn read(packet: &[u8], name: &str, kind: RecordType) -> Option<Answer> {
    let message = Message::from_vec(packet).ok()?;
    let [query] = message.queries.as_slice() else {
        return None;
    };
    let is_answer = message.metadata.message_type == MessageType::Response;
    if !is_answer || query.query_type() != kind || text(query.name()) != name {
        return None;
    }
    if message.metadata.truncation {
        return Some(Answer::Truncated);
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Some(Answer::Failed(code.to_string())),
    }
    let mut found = Found {
        addresses: Vec::new(),
        ttl: Duration::MAX,
    };
    let mut owner = name.to_owned();
    for _ in 0..MAX_ALIASES {
        let own = message
            .answers
            .iter()
            .filter(|record| record.dns_class == DNSClass::IN && text(&record.name) == owner);
        let mut alias = None;
        for record in own {
            match (&record.data, record.data.ip_addr()) {
                (RData::CNAME(target), _) => alias = Some(text(&target.0)),
                (_, Some(ip)) if record.data.record_type() == kind => found.addresses.push(ip),
                _ => continue,
            }
            let ttl = Duration::from_secs(record.ttl.into());
            found.ttl = found.ttl.min(ttl);
        }
        match alias {
            Some(alias) if found.addresses.is_empty() => owner = alias,
            _ => break,
        }
    }
    Some(Answer::Found(found))
}

fn text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
