//! Against a resolver of the test's own, which does what resolvers do, and what impostors would.

use std::str::FromStr as _;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use tokio::net::TcpListener;

use super::*;

/// Answers each question with what `answer` makes of it: packets over UDP, the last of them over TCP.
async fn resolver(
    answer: impl Fn(Message) -> Vec<Message> + Send + Clone + 'static,
) -> (SocketAddr, tokio::task::JoinSet<()>) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let over_tcp = answer.clone();
    tasks.spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            for message in answer(Message::from_vec(&buffer[..length]).unwrap()) {
                udp.send_to(&message.to_vec().unwrap(), client)
                    .await
                    .unwrap();
            }
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut question).await.unwrap();
            let mut message = over_tcp(Message::from_vec(&question).unwrap())
                .pop()
                .unwrap();
            message.metadata.truncation = false;
            let bytes = message.to_vec().unwrap();
            stream
                .write_u16(u16::try_from(bytes.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, tasks)
}

fn answer_with(question: &Message, last: u8) -> Message {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.add_query(question.queries[0].clone());
    let name = question.queries[0].name().clone();
    message.add_answers([Record::from_rdata(
        name,
        60,
        RData::A(std::net::Ipv4Addr::new(192, 0, 2, last).into()),
    )]);
    message
}

async fn addresses(servers: &[SocketAddr]) -> io::Result<Vec<IpAddr>> {
    let resolver = Resolver::new(servers.to_vec());
    let found = resolver.lookup("api.example.com", RecordType::A).await;
    found.map(|found| found.addresses)
}

#[tokio::test]
async fn a_name_is_looked_up_also_where_the_answer_takes_tcp() {
    for cut in [false, true] {
        let (server, _tasks) = resolver(move |question| {
            let mut message = answer_with(&question, 1);
            message.metadata.truncation = cut;
            vec![message]
        })
        .await;
        assert_eq!(
            addresses(&[server]).await.unwrap(),
            [IpAddr::from([192, 0, 2, 1])]
        );
    }
}

#[tokio::test]
async fn an_answer_with_another_number_or_name_is_not_believed() {
    let (server, _tasks) = resolver(|question| {
        let mut forged = answer_with(&question, 66);
        forged.metadata.id = forged.metadata.id.wrapping_add(1);
        vec![forged, answer_with(&question, 1)]
    })
    .await;
    assert_eq!(
        addresses(&[server]).await.unwrap(),
        [IpAddr::from([192, 0, 2, 1])]
    );
    let (server, _tasks) = resolver(|question| {
        let mut other = question.clone();
        other.queries[0].set_name(Name::from_str("other.example.").unwrap());
        vec![answer_with(&other, 66)]
    })
    .await;
    assert_eq!(
        addresses(&[server]).await.unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
}

#[tokio::test]
async fn the_next_one_is_asked_where_one_fails_and_no_name_is_no_failure() {
    let failing = |code: ResponseCode| {
        move |question: Message| {
            let mut message = answer_with(&question, 66);
            message.answers.clear();
            message.metadata.response_code = code;
            vec![message]
        }
    };
    let (broken, _one) = resolver(failing(ResponseCode::ServFail)).await;
    let (good, _two) = resolver(|question| vec![answer_with(&question, 1)]).await;
    let (empty, _three) = resolver(failing(ResponseCode::NXDomain)).await;
    assert_eq!(addresses(&[broken, good]).await.unwrap().len(), 1);
    assert_eq!(
        addresses(&[empty, good]).await.unwrap(),
        Vec::<IpAddr>::new()
    );
    addresses(&[broken]).await.unwrap_err();
    addresses(&[]).await.unwrap_err();
}

#[tokio::test]
async fn a_pods_question_keeps_its_number_and_is_asked_under_another() {
    let (server, _tasks) = resolver(|question| vec![answer_with(&question, 1)]).await;
    let question = answer::question(0x1234, "api.example.com", RecordType::A).unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        let relayed = Resolver::new(vec![server])
            .relay(server, &question, transport)
            .await;
        let (answered, found) = relayed.unwrap();
        assert_eq!(answered[..2], [0x12, 0x34]);
        let (name, found) = found.unwrap();
        assert_eq!(
            (name.as_str(), found.addresses.len()),
            ("api.example.com", 1)
        );
    }
}

#[test]
fn the_systems_resolvers_are_those_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, "# nameserver 192.0.2.9\nsearch a.b\nnameserver 192.0.2.1\nnameserver fd00::1\nnameserver x\n").unwrap();
    let expected: [SocketAddr; 2] = [
        "192.0.2.1:53".parse().unwrap(),
        "[fd00::1]:53".parse().unwrap(),
    ];
    assert_eq!(of_system(&path).unwrap(), expected);
    assert!(of_system(&dir.path().join("none")).is_err());
}
