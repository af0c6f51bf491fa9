//! A question to a resolver, and what its answer says. Pure: bytes in, bytes out.
//!
//! Invariant: an answer counts only if it is one to the question that was asked, and of it only what leads from the name
//! in question to addresses.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// Largest answer over UDP: fits every path without fragments (DNS flag day 2020).
pub(crate) const MAX_UDP: u16 = 1232;
/// A name leads to another one at most so often.
const ALIASES: usize = 16;
/// Addresses of one name that are kept.
const ADDRESSES: usize = 32;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    id: u16,
    name: Name,
    kind: RecordType,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name has these, and for how long that is good.
    Addresses(Vec<IpAddr>, Duration),
    /// The name has none, or is none.
    None,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is to another question, or is no message: the right one may still come.
    Another,
    /// It is cut, and whole over TCP.
    Truncated,
    /// The resolver could not, or would not.
    Failed,
}

impl Question {
    pub(crate) fn new(name: &Name, kind: RecordType) -> Self {
        Self {
            id: rand::random(),
            name: name.clone(),
            kind,
        }
    }

    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        message.set_edns(edns);
        message.to_vec().ok()
    }

    /// What a packet says to this question.
    pub(crate) fn read(&self, packet: &[u8]) -> Result<Answer, Bad> {
        let message = Message::from_vec(packet).map_err(|_| Bad::Another)?;
        let metadata = &message.metadata;
        let asked = |query: &Query| {
            *query.name() == self.name
                && query.query_type() == self.kind
                && query.query_class() == DNSClass::IN
        };
        let is_answer = metadata.message_type == MessageType::Response
            && metadata.id == self.id
            && message.queries.len() == 1
            && message.queries.iter().all(asked);
        if !is_answer {
            return Err(Bad::Another);
        }
        if metadata.truncation {
            return Err(Bad::Truncated);
        }
        match metadata.response_code {
            ResponseCode::NoError => Ok(self.addresses(&message)),
            ResponseCode::NXDomain => Ok(Answer::None),
            _ => Err(Bad::Failed),
        }
    }

    fn addresses(&self, message: &Message) -> Answer {
        let (mut name, mut ttl) = (&self.name, u32::MAX);
        for _ in 0..ALIASES {
            let alias = message
                .answers
                .iter()
                .find_map(|record| match &record.data {
                    RData::CNAME(alias) if record.name == *name => Some((&alias.0, record.ttl)),
                    _ => None,
                });
            let Some((next, good)) = alias else { break };
            (name, ttl) = (next, ttl.min(good));
        }
        let mut addresses = Vec::new();
        for record in message.answers.iter().filter(|record| record.name == *name) {
            let ip = match (&record.data, self.kind) {
                (RData::A(ip), RecordType::A) => IpAddr::V4(ip.0),
                (RData::AAAA(ip), RecordType::AAAA) => IpAddr::V6(ip.0),
                _ => continue,
            };
            if addresses.len() < ADDRESSES && !addresses.contains(&ip) {
                addresses.push(ip);
            }
            ttl = ttl.min(record.ttl);
        }
        if addresses.is_empty() {
            Answer::None
        } else {
            Answer::Addresses(addresses, Duration::from_secs(ttl.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::CNAME;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(question: &Question, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(question.id, OpCode::Query);
        message.add_query(Query::query(question.name.clone(), question.kind));
        change(&mut message);
        message.to_vec().unwrap()
    }

    fn a(owner: &str, ttl: u32, ip: [u8; 4]) -> Record {
        Record::from_rdata(
            name(owner),
            ttl,
            RData::A(std::net::Ipv4Addr::from(ip).into()),
        )
    }

    #[test]
    fn an_answer_leads_from_the_name_to_addresses_by_its_aliases() {
        let question = Question::new(&name("api.example."), RecordType::A);
        let alias = |from: &str, to: &str| {
            Record::from_rdata(name(from), 60, RData::CNAME(CNAME(name(to))))
        };
        let packet = answer(&question, |message| {
            message.add_answers([
                alias("API.example.", "edge.example."),
                alias("edge.example.", "pop.example."),
                a("pop.example.", 90, [192, 0, 2, 1]),
                a("pop.example.", 30, [192, 0, 2, 2]),
                a("pop.example.", 30, [192, 0, 2, 2]),
                a("elsewhere.example.", 5, [192, 0, 2, 9]),
            ]);
        });
        let expected = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        assert_eq!(
            question.read(&packet),
            Ok(Answer::Addresses(expected.into(), Duration::from_secs(30)))
        );
        let endless = answer(&question, |message| {
            message.add_answers([alias("api.example.", "api.example.")]);
        });
        assert_eq!(question.read(&endless), Ok(Answer::None));
    }

    #[test]
    fn only_the_answer_to_this_question_counts() {
        let question = Question::new(&name("api.example."), RecordType::A);
        let good = |message: &mut Message| {
            message.add_answer(a("api.example.", 1, [192, 0, 2, 1]));
        };
        assert!(matches!(
            question.read(&answer(&question, good)),
            Ok(Answer::Addresses(..))
        ));
        let others = [
            Question {
                id: question.id ^ 1,
                ..question.clone()
            },
            Question {
                name: name("other.example."),
                ..question.clone()
            },
            Question {
                kind: RecordType::AAAA,
                ..question.clone()
            },
        ];
        for other in others {
            assert_eq!(question.read(&answer(&other, good)), Err(Bad::Another));
        }
        let read = |change: fn(&mut Message)| question.read(&answer(&question, change));
        assert_eq!(read(|m| m.metadata.truncation = true), Err(Bad::Truncated));
        assert_eq!(
            read(|m| m.metadata.response_code = ResponseCode::ServFail),
            Err(Bad::Failed)
        );
        assert_eq!(
            read(|m| m.metadata.response_code = ResponseCode::NXDomain),
            Ok(Answer::None)
        );
        assert_eq!(read(|_| ()), Ok(Answer::None));
        let asked = question.encode().unwrap();
        assert_eq!(
            question.read(&asked),
            Err(Bad::Another),
            "a question is no answer"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_much(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            let question = Question::new(&name("api.example."), RecordType::A);
            prop_assert!(question.read(&packet).is_err());
        }
    }
}
