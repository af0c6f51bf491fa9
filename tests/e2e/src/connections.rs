//! TCP connections of the link, put together while their packets pass: who dialled whom, when, and whether it was TLS.
//!
//! Invariant: memory is bounded by the number of connections, not by their bytes. What is not TLS is told by its first
//! bytes, so that a failure says what leaked.

use anyhow::{Result, ensure};
use culvert_lab::{
    flow::Stream,
    packet::{Packet, Transport},
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

/// The port of HBONE.
pub const HBONE: u16 = 15008;
const MAX_CONNECTIONS: usize = 500_000;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Who sent the first SYN.
    pub client: SocketAddr,
    /// Whom it was for.
    pub server: SocketAddr,
    /// When, by the packet's own time.
    pub begun: SystemTime,
    /// When its last segment passed.
    pub last: SystemTime,
    /// Segments that carried bytes, both ways.
    pub segments: usize,
    /// Those bytes.
    pub bytes: usize,
    /// Why it is not TLS from its first byte to its last.
    pub not_tls: Option<String>,
    /// An answer came from the server.
    pub answered: bool,
    sequence: u32,
    to_server: Option<Stream>,
    to_client: Option<Stream>,
}

impl Connection {
    /// Between these two addresses, whoever dialled.
    pub fn is_between(&self, one: IpAddr, other: IpAddr) -> bool {
        let pair = (self.client.ip(), self.server.ip());
        pair == (one, other) || pair == (other, one)
    }

    /// Whether every byte of it was a TLS record's, to the port of HBONE.
    pub fn is_hbone(&self) -> bool {
        self.server.port() == HBONE && self.not_tls.is_none() && self.gap().is_none()
    }

    /// The direction in which a segment is missing.
    pub fn gap(&self) -> Option<&'static str> {
        let lacks =
            |stream: &Option<Stream>| stream.as_ref().is_some_and(|stream| !stream.is_whole());
        match (lacks(&self.to_server), lacks(&self.to_client)) {
            (true, _) => Some("to the server"),
            (_, true) => Some("to the client"),
            _ => None,
        }
    }

    /// TLS records of both directions.
    pub fn records(&self) -> usize {
        let records = |stream: &Option<Stream>| stream.as_ref().map_or(0, Stream::records);
        records(&self.to_server) + records(&self.to_client)
    }

    /// For people.
    pub fn describe(&self) -> String {
        format!(
            "{} -> {}: {} bytes{}",
            self.client,
            self.server,
            self.bytes,
            self.not_tls
                .as_deref()
                .map_or(String::new(), |why| format!(", {why}"))
        )
    }
}

/// All connections since the capture began.
#[derive(Debug, Default)]
pub struct Connections {
    all: Vec<Connection>,
    /// The newest of each pair of addresses and ports.
    open: HashMap<(SocketAddr, SocketAddr), usize>,
    /// Segments with bytes of connections whose beginning nobody saw.
    pub strays: HashMap<(SocketAddr, SocketAddr), usize>,
    /// Segments seen.
    pub segments: usize,
}

impl Connections {
    /// Takes the next packet.
    pub fn take(&mut self, packet: &Packet, time: Duration) -> Result<()> {
        let Transport::Tcp { sequence, syn } = packet.transport else {
            return Ok(());
        };
        self.segments += 1;
        let at = SystemTime::UNIX_EPOCH + time;
        let (from, to) = (packet.source, packet.destination);
        let forward = self.open.get(&(from, to)).copied();
        let backward = self.open.get(&(to, from)).copied();
        match (forward, backward) {
            // The answer to a SYN.
            (None, Some(index)) if syn && self.all[index].to_client.is_none() => {
                let connection = &mut self.all[index];
                connection.to_client = Some(Stream::new(sequence));
                connection.answered = true;
                connection.last = at;
            }
            // The same SYN again.
            (Some(index), _) if syn && self.all[index].sequence == sequence => {}
            (None, Some(index)) if syn && self.repeats(index, sequence) => {}
            _ if syn => {
                self.open.remove(&(to, from));
                self.begin(from, to, sequence, at)?;
            }
            (Some(index), _) => self.all[index].carry(true, sequence, packet, at),
            (None, Some(index)) => self.all[index].carry(false, sequence, packet, at),
            (None, None) if !packet.payload.is_empty() => {
                *self.strays.entry((from, to)).or_default() += 1;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Whether a SYN of the server's side is the one that it sent already.
    fn repeats(&self, index: usize, sequence: u32) -> bool {
        let stream = self.all[index].to_client.as_ref();
        stream.is_some_and(|stream| stream.begins_at(sequence))
    }

    fn begin(
        &mut self,
        client: SocketAddr,
        server: SocketAddr,
        sequence: u32,
        at: SystemTime,
    ) -> Result<()> {
        ensure!(
            self.all.len() < MAX_CONNECTIONS,
            "more than {MAX_CONNECTIONS} connections on the link"
        );
        self.open.insert((client, server), self.all.len());
        self.all.push(Connection {
            client,
            server,
            begun: at,
            last: at,
            segments: 0,
            bytes: 0,
            not_tls: None,
            answered: false,
            sequence,
            to_server: Some(Stream::new(sequence)),
            to_client: None,
        });
        Ok(())
    }

    /// All of them, in the order of their first packets.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.all.iter()
    }
}

impl Connection {
    fn carry(&mut self, to_server: bool, sequence: u32, packet: &Packet, at: SystemTime) {
        self.last = at;
        if packet.payload.is_empty() {
            return;
        }
        self.segments += 1;
        self.bytes += packet.payload.len();
        let stream = if to_server {
            &mut self.to_server
        } else {
            &mut self.to_client
        };
        let walked = match stream {
            Some(stream) => stream.take(sequence, &packet.payload),
            None => Err(anyhow::anyhow!("bytes of a server that never sent a SYN")),
        };
        if let Err(error) = walked {
            let start = String::from_utf8_lossy(&packet.payload[..packet.payload.len().min(60)])
                .into_owned();
            self.not_tls
                .get_or_insert_with(|| format!("{error:#}: {start:?}"));
            // The walk makes no sense after that; nor are its bytes kept.
            *stream = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: &str, to: &str, sequence: u32, syn: bool, payload: &[u8]) -> Packet {
        Packet {
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            transport: Transport::Tcp { sequence, syn },
            payload: payload.to_vec(),
        }
    }

    const A: &str = "10.244.1.2:4000";
    const B: &str = "10.244.2.2:15008";
    const RECORD: &[u8] = &[23, 3, 3, 0, 2, 1, 2];

    fn feed(packets: &[Packet]) -> Connections {
        let mut connections = Connections::default();
        for (at, packet) in packets.iter().enumerate() {
            connections
                .take(packet, Duration::from_secs(at as u64))
                .unwrap();
        }
        connections
    }

    #[test]
    fn a_tls_connection_is_hbone_and_its_ports_may_be_used_again() {
        let connections = feed(&[
            packet(A, B, 7, true, b""),
            packet(B, A, 90, true, b""),
            packet(B, A, 90, true, b""),
            packet(A, B, 8, false, RECORD),
            packet(B, A, 91, false, RECORD),
            packet(A, B, 500, true, b""),
            packet(B, A, 900, true, b""),
            packet(A, B, 501, false, RECORD),
        ]);
        let all: Vec<_> = connections.iter().collect();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|one| one.is_hbone() && one.answered));
        assert_eq!((all[0].records(), all[1].records()), (2, 1));
        assert!(connections.strays.is_empty());
    }

    #[test]
    fn what_is_no_tls_or_lacks_its_beginning_is_told() {
        let connections = feed(&[
            packet(A, B, 7, true, b""),
            packet(B, A, 90, true, b""),
            packet(A, B, 8, false, b"GET / HTTP/1.1"),
            packet(A, B, 22, false, b"more"),
            packet("10.244.1.2:1", B, 8, false, b"stray"),
        ]);
        let all: Vec<_> = connections.iter().collect();
        assert!(!all[0].is_hbone());
        assert!(
            all[0].describe().contains("GET / HTTP"),
            "{}",
            all[0].describe()
        );
        assert_eq!(connections.strays.len(), 1);
    }

    #[test]
    fn a_missing_segment_is_no_evidence() {
        let connections = feed(&[packet(A, B, 7, true, b""), packet(A, B, 9, false, RECORD)]);
        assert!(!connections.iter().next().unwrap().is_hbone());
    }
}
