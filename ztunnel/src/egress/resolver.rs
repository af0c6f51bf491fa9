//! Resolvers that the node's operator trusts, asked from ztunnel's own network namespace.
//!
//! Invariants: an answer counts only if it comes from the address that was asked, bears the number that was drawn for the
//! question, whatever number a pod chose, and is about the name that was asked for; every wait ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use culvert_runtime::net::{self, SocketOptions};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::answer::{self, Answer, Found};

/// How long one resolver may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer over UDP that is taken.
const MAX_UDP: usize = 4096;
const PORT: u16 = 53;

/// Who is asked, the first one first.
#[derive(Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
}

/// How a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Those that this system is told to ask.
pub(crate) fn of_system(path: &Path) -> io::Result<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(path)?;
    let mut words = text.lines().map(str::split_whitespace);
    let servers = words.by_ref().filter_map(|mut words| {
        let is_server = words.next() == Some("nameserver");
        let ip: IpAddr = is_server.then(|| words.next()).flatten()?.parse().ok()?;
        Some(SocketAddr::new(ip, PORT))
    });
    Ok(servers.collect())
}

impl Resolver {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Whether it is one of these.
    pub(super) fn trusts(&self, resolver: SocketAddr) -> bool {
        self.servers.contains(&resolver)
    }

    /// The addresses of a name: none if there are none.
    pub(super) async fn lookup(&self, name: &str, kind: RecordType) -> io::Result<Found> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no resolver is known");
        for server in &self.servers {
            match self.ask(*server, name, kind).await {
                Ok(Answer::Found(found)) => return Ok(found),
                Ok(Answer::Truncated) => last = io::Error::other("the answer is cut over TCP too"),
                Ok(Answer::Failed(code)) => last = io::Error::other(code),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Answer> {
        let question = answer::question(0, name, kind)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name of the DNS"))?;
        for transport in [Transport::Udp, Transport::Tcp] {
            let answered = exchange(server, &question, transport).await?;
            match answer::read(&answered, name, kind) {
                Some(Answer::Truncated) => {}
                Some(answer) => return Ok(answer),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(Answer::Truncated)
    }

    /// Hands a question on that a pod asked this very resolver. What the answer says of the name is told beside it.
    pub(super) async fn relay(
        &self,
        server: SocketAddr,
        question: &[u8],
        transport: Transport,
    ) -> io::Result<(Vec<u8>, Option<(String, Found)>)> {
        let answered = exchange(server, question, transport).await?;
        let asked = answer::asked(question);
        let found = asked.and_then(|(name, kind)| match answer::read(&answered, &name, kind) {
            Some(Answer::Found(found)) => Some((name, found)),
            _ => None,
        });
        Ok((answered, found))
    }
}

/// One question and its answer, both with the number that the question came with.
async fn exchange(
    server: SocketAddr,
    question: &[u8],
    transport: Transport,
) -> io::Result<Vec<u8>> {
    let (Some(own), Some(rest)) = (question.get(..2), question.get(2..)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // A pod knows the number of its own question, and could forge an answer that bears it.
    let drawn = rand::random::<u16>().to_be_bytes();
    let sent = [&drawn, rest].concat();
    let answered = match transport {
        Transport::Udp => timeout(PATIENCE, over_udp(server, &sent)).await,
        Transport::Tcp => timeout(PATIENCE, over_tcp(server, &sent)).await,
    };
    let mut answered = answered.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    if let Some(number) = answered.get_mut(..2) {
        number.copy_from_slice(own);
    }
    Ok(answered)
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From here on the kernel takes nothing that comes from elsewhere.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answered = buffer.get(..length).unwrap_or_default();
        if answered.get(..2) == question.get(..2) {
            return Ok(answered.to_vec());
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).map_err(|_long| io::ErrorKind::InvalidData)?;
    let socket = net::tcp_socket(&server, &SocketOptions::default())?;
    let mut stream = net::connect(socket, server, PATIENCE).await?;
    stream
        .write_all(&[&length.to_be_bytes(), question].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answered = vec![0; usize::from(length)];
    stream.read_exact(&mut answered).await?;
    if answered.get(..2) != question.get(..2) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(answered)
}

#[cfg(test)]
mod tests;
