//! Questions as clients send them, and packets that no client sends.

use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::str::FromStr as _;

use hickory_proto::rr::Name;

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

fn web(name: &str) -> Option<Vec<IpAddr>> {
    (name == "web.demo.svc.cluster.local")
        .then(|| vec![[10, 96, 0, 1].into(), [10, 96, 0, 2].into()])
}

fn answered(
    message: &Message,
    transport: Transport,
    lookup: impl FnOnce(&str) -> Option<Vec<IpAddr>>,
) -> Message {
    match decide(&message.to_vec().unwrap(), transport, lookup) {
        Decision::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mesh_name_gets_every_address_and_the_question_back_as_it_was_written() {
    let asked = question("WeB.demo.svc.Cluster.local.", RecordType::A);
    let reply = answered(&asked, Transport::Udp, web);
    assert_eq!(reply.metadata.id, 7);
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(
        reply.queries[0].name().eq_case(asked.queries[0].name()),
        "0x20 case is kept"
    );
    let addresses: Vec<_> = reply
        .answers
        .iter()
        .map(|r| r.data.ip_addr().unwrap())
        .collect();
    assert_eq!(Some(addresses), web("web.demo.svc.cluster.local"));
    assert!(reply.answers.iter().all(|record| record.ttl == TTL));
}

#[test]
fn the_other_family_gets_no_data_rather_than_no_such_name() {
    let reply = answered(
        &question("web.demo.svc.cluster.local.", RecordType::AAAA),
        Transport::Udp,
        web,
    );
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.answers.is_empty() && !reply.metadata.truncation);
}

#[test]
fn everything_else_is_for_the_resolver() {
    let mut chaos = question("web.demo.svc.cluster.local.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut two = question("web.demo.svc.cluster.local.", RecordType::A);
    two.add_query(Query::query(Name::from_str("a.").unwrap(), RecordType::A));
    let mut update = question("web.demo.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    for message in [
        question("example.com.", RecordType::A),
        question("web.demo.svc.cluster.local.", RecordType::MX),
        question("x.web.demo.svc.cluster.local.", RecordType::A),
        chaos,
        two,
        update,
        Message::new(7, MessageType::Query, OpCode::Query),
    ] {
        assert_eq!(
            decide(&message.to_vec().unwrap(), Transport::Udp, web),
            Decision::Forward,
            "{message:?}"
        );
    }
}

#[test]
fn answers_are_not_questions() {
    let mut reply = question("web.demo.svc.cluster.local.", RecordType::A);
    reply.metadata.message_type = MessageType::Response;
    assert_eq!(
        decide(&reply.to_vec().unwrap(), Transport::Udp, web),
        Decision::Ignore
    );
    assert_eq!(decide(&[], Transport::Udp, web), Decision::Ignore);
    assert_eq!(decide(&[0; 11], Transport::Udp, web), Decision::Ignore);
}

#[test]
fn a_compression_loop_is_a_format_error() {
    let header = [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let to_itself = [&header[..], &[0xc0, 12, 0, 1, 0, 1]].concat();
    let ping_pong = [&header[..], &[0xc0, 14, 0xc0, 12, 0, 1, 0, 1]].concat();
    let beyond = [&header[..], &[0xff, 0xff, 0, 1, 0, 1]].concat();
    let long_label = [&header[..], &[63, b'a', 0, 0, 1, 0, 1]].concat();
    let cut = [&header[..], &[1, b'a']].concat();
    for packet in [to_itself, ping_pong, beyond, long_label, cut] {
        let Decision::Malformed(reply) = decide(&packet, Transport::Udp, web) else {
            panic!("{packet:?}");
        };
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(
            (reply.metadata.id, reply.metadata.response_code),
            (9, ResponseCode::FormErr)
        );
    }
}

#[test]
fn a_failure_is_about_the_question() {
    let asked = question("example.com.", RecordType::TXT);
    let packet = asked.to_vec().unwrap();
    let reply = failure(&packet).unwrap();
    assert!(reply.len() <= packet.len());
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((reply.metadata.id, &reply.queries), (7, &asked.queries));
    assert_eq!(failure(&packet[..20]), None);
}

#[test]
fn what_does_not_fit_is_asked_for_again_over_tcp() {
    let many = |_: &str| {
        Some(
            (0..200)
                .map(|i| Ipv4Addr::from(0x0a00_0000 + i).into())
                .collect(),
        )
    };
    let mut asked = question("web.demo.svc.cluster.local.", RecordType::A);
    for edns in [None, Some(4096)] {
        if let Some(size) = edns {
            asked
                .set_edns(Edns::new())
                .edns
                .as_mut()
                .unwrap()
                .set_max_payload(size);
        }
        let short = answered(&asked, Transport::Udp, many);
        assert!(short.metadata.truncation && short.answers.is_empty());
        assert_eq!(short.edns.is_some(), edns.is_some());
    }
    let whole = answered(&asked, Transport::Tcp, many);
    assert!(!whole.metadata.truncation && whole.answers.len() == 200);
}

proptest! {
    #[test]
    fn no_packet_panics_or_amplifies(packet in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Decision::Answer(reply) | Decision::Malformed(reply) = decide(&packet, Transport::Udp, |_| None) {
            prop_assert!(reply.len() <= packet.len());
        }
    }

    #[test]
    fn damage_to_a_good_question_never_panics(at in 0usize..45, with in any::<u8>()) {
        let mut packet = question("web.demo.svc.cluster.local.", RecordType::A).to_vec().unwrap();
        let at = at % packet.len();
        packet[at] = with;
        if let Decision::Answer(reply) = decide(&packet, Transport::Udp, |_| Some(Vec::new())) {
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }
}
