//! Answers as resolvers give them, and those that nobody should believe.

use proptest::prelude::*;

use hickory_proto::rr::{Record, rdata::CNAME};

use super::*;

const API: &str = "api.example.com";

fn name(text: &str) -> Name {
    Name::from_str(&format!("{text}.")).unwrap()
}

fn alias(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn address(owner: &str, ip: &str, ttl: u32) -> Record {
    let data = match ip.parse().unwrap() {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    };
    Record::from_rdata(name(owner), ttl, data)
}

fn answer(records: Vec<Record>) -> Message {
    let mut message = Message::response(7, OpCode::Query);
    message.add_query(Query::query(name("API.example.com"), RecordType::A));
    message.add_answers(records);
    message
}

fn found(records: Vec<Record>) -> (Vec<String>, u64) {
    let packet = answer(records).to_vec().unwrap();
    match read(&packet, API, RecordType::A) {
        Some(Answer::Found(found)) => (
            found.addresses.iter().map(ToString::to_string).collect(),
            found.ttl.as_secs(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_read_as_it_was_asked() {
    let packet = question(7, API, RecordType::AAAA).unwrap();
    assert_eq!(asked(&packet), Some((API.to_owned(), RecordType::AAAA)));
    assert_eq!(asked(&question(7, API, RecordType::MX).unwrap()), None);
    assert_eq!(asked(&answer(vec![]).to_vec().unwrap()), None, "an answer");
    assert_eq!(asked(b"nonsense"), None);
}

#[test]
fn aliases_are_followed_and_strangers_are_not() {
    let of = |addresses: &[&str], ttl| {
        (
            addresses
                .iter()
                .map(|a| (*a).to_owned())
                .collect::<Vec<_>>(),
            ttl,
        )
    };
    assert_eq!(
        found(vec![
            address("API.Example.com", "192.0.2.1", 60),
            address(API, "192.0.2.2", 30)
        ]),
        of(&["192.0.2.1", "192.0.2.2"], 30)
    );
    assert_eq!(
        found(vec![
            alias(API, "a.cdn.example", 10),
            alias("a.cdn.example", "b.cdn.example", 300),
            address("b.cdn.example", "192.0.2.3", 60)
        ]),
        of(&["192.0.2.3"], 10)
    );
    assert_eq!(
        found(vec![
            address("other.example", "192.0.2.9", 60),
            address(API, "192.0.2.1", 60),
            address(API, "2001:db8::1", 1)
        ]),
        of(&["192.0.2.1"], 60),
        "neither another name nor another family"
    );
    assert!(found(vec![]).0.is_empty());
    let to_itself = vec![alias(API, "a.example", 1), alias("a.example", API, 1)];
    assert!(found(to_itself).0.is_empty());
}

#[test]
fn what_is_no_answer_to_the_question_is_none() {
    let good = answer(vec![address(API, "192.0.2.1", 60)]);
    let packet = good.to_vec().unwrap();
    assert_eq!(read(&packet, "other.example", RecordType::A), None);
    assert_eq!(read(&packet, API, RecordType::AAAA), None);
    assert_eq!(read(&packet[..packet.len() - 1], API, RecordType::A), None);
    let mut question = good.clone();
    question.metadata.message_type = MessageType::Query;
    assert_eq!(read(&question.to_vec().unwrap(), API, RecordType::A), None);
    let mut cut = good.clone();
    cut.metadata.truncation = true;
    assert_eq!(
        read(&cut.to_vec().unwrap(), API, RecordType::A),
        Some(Answer::Truncated)
    );
    let mut failed = good;
    failed.metadata.response_code = ResponseCode::ServFail;
    assert!(matches!(
        read(&failed.to_vec().unwrap(), API, RecordType::A),
        Some(Answer::Failed(_))
    ));
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0usize..80, with in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packet = answer(vec![alias(API, "b.example", 1), address("b.example", "192.0.2.1", 60)]).to_vec().unwrap();
        let at = at % packet.len();
        packet[at] = with;
        for packet in [packet, noise] {
            let _ = (read(&packet, API, RecordType::A), asked(&packet));
        }
    }
}
