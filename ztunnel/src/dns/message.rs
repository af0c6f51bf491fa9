//! A DNS question taken apart, and the answer put together. Pure: bytes in, bytes out.
//!
//! Invariants: only a standard question for the addresses of one name is ever answered here; what is understood in part
//! is left to the resolver, byte for byte; what is no question at all gets at most one small error, so that nothing
//! here amplifies.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

/// Seconds for which an answer may be kept: short, because pods come and go.
const TTL: u32 = 30;
/// Largest answer over UDP whatever the client says: fits every path without fragments (DNS flag day 2020).
const MAX_UDP: u16 = 1232;
/// Largest answer over TCP.
const MAX_TCP: u16 = u16::MAX;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What to do with the bytes that came as a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Not a name of the mesh: the resolver that the application asked knows.
    Forward,
    /// Not a question: this is the error to answer with.
    Malformed(Vec<u8>),
    /// Not even worth an error: too short, or itself an answer.
    Ignore,
}

/// Decide what to do with `packet`. `lookup` knows the addresses of the mesh's names: lower case, no final dot.
pub(crate) fn decide(
    packet: &[u8],
    transport: Transport,
    lookup: impl FnOnce(&str) -> Option<Vec<IpAddr>>,
) -> Decision {
    let mut decoder = BinDecoder::new(packet);
    let Ok(header) = Header::read(&mut decoder) else {
        return Decision::Ignore;
    };
    if header.message_type == MessageType::Response {
        return Decision::Ignore;
    }
    if header.op_code != OpCode::Query || header.counts.queries != 1 {
        return Decision::Forward;
    }
    let Ok(question) = Query::read(&mut decoder) else {
        let error = Message::error_msg(header.id, header.op_code, ResponseCode::FormErr);
        return error.to_vec().map_or(Decision::Ignore, Decision::Malformed);
    };
    if !asks_for_addresses(&question) {
        return Decision::Forward;
    }
    let name = question.name().to_lowercase().to_ascii();
    let Some(addresses) = lookup(name.trim_end_matches('.')) else {
        return Decision::Forward;
    };
    let Ok(request) = Message::from_vec(packet) else {
        return Decision::Forward;
    };
    answer(&request, &question, &addresses, transport).map_or(Decision::Forward, Decision::Answer)
}

/// The answer to a question that the resolver does not answer: the application goes on with what it tries next. `None`
/// for what is no question.
pub(crate) fn failure(packet: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(packet);
    let header = Header::read(&mut decoder).ok()?;
    let mut response = Message::error_msg(header.id, header.op_code, ResponseCode::ServFail);
    response.metadata.recursion_desired = header.recursion_desired;
    response.metadata.recursion_available = true;
    if header.counts.queries > 0 {
        response.add_query(Query::read(&mut decoder).ok()?);
    }
    response.to_vec().ok()
}

fn asks_for_addresses(question: &Query) -> bool {
    let wanted = matches!(question.query_type(), RecordType::A | RecordType::AAAA);
    wanted && question.query_class() == DNSClass::IN
}

/// The answer: the addresses of the family that was asked for, none of them if the name has only others. Too long an
/// answer is left out, and the client told to ask over TCP.
fn answer(
    request: &Message,
    question: &Query,
    addresses: &[IpAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.checking_disabled = request.metadata.checking_disabled;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.add_query(question.clone());
    let records = addresses
        .iter()
        .filter_map(|&ip| match (question.query_type(), ip) {
            (RecordType::A, IpAddr::V4(ip)) => Some(RData::A(ip.into())),
            (RecordType::AAAA, IpAddr::V6(ip)) => Some(RData::AAAA(ip.into())),
            _ => None,
        });
    response
        .add_answers(records.map(|data| Record::from_rdata(question.name().clone(), TTL, data)));
    let largest = match transport {
        Transport::Udp => request.max_payload().min(MAX_UDP),
        Transport::Tcp => MAX_TCP,
    };
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        response.set_edns(edns);
    }
    let bytes = response.to_vec().ok()?;
    if bytes.len() <= usize::from(largest) {
        return Some(bytes);
    }
    response.answers.clear();
    response.metadata.truncation = true;
    response.to_vec().ok()
}

#[cfg(test)]
mod tests;
