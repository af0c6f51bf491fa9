//! One question to the resolvers, one after the other, over UDP and where that is not enough over TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use culvert_runtime::net::{self, SocketOptions};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::message::{Answer, Bad, MAX_UDP, Question};
use crate::servers::Servers;

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The name has none.
    NoAddress,
    /// Nobody could say.
    Failed,
}

/// Ask until a resolver answers, or all have had their chances.
pub(crate) async fn ask(
    servers: &Servers,
    name: &Name,
    kind: RecordType,
) -> Result<Answer, Failure> {
    for _ in 0..servers.attempts {
        for server in &servers.addresses {
            // A new number and a new port each time, so that a late answer to an earlier one is none to this.
            let question = Question::new(name, kind);
            let patience = servers.timeout;
            match timeout(patience, ask_one(*server, &question, patience)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%server, %name, %error, "no answer"),
                Err(_elapsed) => tracing::debug!(%server, %name, "no answer in time"),
            }
        }
    }
    Err(Failure::Failed)
}

async fn ask_one(
    server: SocketAddr,
    question: &Question,
    patience: Duration,
) -> io::Result<Answer> {
    let packet = question.encode().ok_or(io::ErrorKind::InvalidInput)?;
    match over_udp(server, question, &packet).await? {
        Ok(answer) => Ok(answer),
        Err(Bad::Truncated) => over_tcp(server, question, &packet, patience).await,
        Err(_) => Err(io::Error::other("the resolver could not answer")),
    }
}

async fn over_udp(
    server: SocketAddr,
    question: &Question,
    packet: &[u8],
) -> io::Result<Result<Answer, Bad>> {
    let any = match server.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From now on the kernel hands on what comes from there, and nothing else.
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = [0; MAX_UDP as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match question.read(buffer.get(..length).unwrap_or_default()) {
            Err(Bad::Another) => {}
            read => return Ok(read),
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    question: &Question,
    packet: &[u8],
    patience: Duration,
) -> io::Result<Answer> {
    let socket = net::tcp_socket(&server, &SocketOptions::default())?;
    let mut stream = net::connect(socket, server, patience).await?;
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream
        .write_all(&[&length.to_be_bytes(), packet].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    question
        .read(&answer)
        .map_err(|_| io::Error::other("the resolver could not answer"))
}
