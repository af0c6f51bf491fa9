//! Packets of a capture file, as far as the demo and the suites look into them: IP, TCP, UDP.
//!
//! Invariant: what cannot be read is an error or an [`Transport::Other`], never left out in silence.

use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes before the first record of a capture file.
pub const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;

/// A packet of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its sender.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
    /// What it carries.
    pub transport: Transport,
    /// What follows the transport's header.
    pub payload: Vec<u8>,
}

/// What it carries. `Other` has ports 0 and all that follows the IP header as payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A segment of TCP.
    Tcp {
        /// Of its first byte.
        sequence: u32,
        /// Whether it opens a direction.
        syn: bool,
    },
    /// A datagram of UDP.
    Udp,
    /// Anything else.
    Other,
}

impl Packet {
    /// Whether it is a segment of TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp { .. })
    }

    /// Whether either end has this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.source.port() == port || self.destination.port() == port
    }

    /// Whether it goes from one of `addresses` to another of them.
    pub fn is_between(&self, addresses: &[IpAddr]) -> bool {
        addresses.contains(&self.source.ip()) && addresses.contains(&self.destination.ip())
    }

    /// Whether these bytes stand in its payload.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.payload
            .windows(needle.len())
            .any(|window| window == needle)
    }
}

/// Checks that a file is a capture of Ethernet packets in this machine's byte order.
pub fn check_header(bytes: &[u8]) -> Result<()> {
    let word = |at| {
        bytes
            .get(at..at + 4)
            .and_then(|word| word.try_into().ok())
            .map(u32::from_ne_bytes)
    };
    ensure!(
        matches!(word(0), Some(0xa1b2_c3d4 | 0xa1b2_3c4d)),
        "not a capture file"
    );
    ensure!(word(20) == Some(1), "not a capture of Ethernet packets");
    Ok(())
}

/// The record at the start of `bytes` and its length there; none if it is not there as a whole yet. A packet that is not
/// IP (ARP) has none.
pub fn next_record(bytes: &[u8]) -> Result<Option<(Option<Packet>, usize)>> {
    let Some(header) = bytes.get(..RECORD_HEADER) else {
        return Ok(None);
    };
    let word = |at: usize| -> Result<usize> {
        let word = header.get(at..at + 4).context("record header")?;
        Ok(usize::try_from(u32::from_ne_bytes(word.try_into()?))?)
    };
    let (captured, original) = (word(8)?, word(12)?);
    ensure!(
        captured == original,
        "the capture cut a packet short: {captured} of {original} bytes"
    );
    let end = RECORD_HEADER + captured;
    let Some(frame) = bytes.get(RECORD_HEADER..end) else {
        return Ok(None);
    };
    Ok(Some((parse_frame(frame)?, end)))
}

fn parse_frame(frame: &[u8]) -> Result<Option<Packet>> {
    let ethertype = frame.get(12..ETHERNET_HEADER).context("Ethernet header")?;
    let packet = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    match ethertype {
        [0x08, 0x00] => parse_v4(packet).map(Some),
        [0x86, 0xdd] => parse_v6(packet).map(Some),
        [0x08, 0x06] => Ok(None),
        other => bail!("a frame of unknown type {other:02x?}"),
    }
}

fn parse_v4(packet: &[u8]) -> Result<Packet> {
    let header = packet.get(..20).context("IPv4 header")?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // 0 says "longer than 64 KiB": segmentation is left to a device that this link has not.
    let end = if total == 0 { packet.len() } else { total };
    let address = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ))
    };
    let body = packet.get(header_length..end).context("IPv4 body")?;
    parse_transport(address(12), address(16), header[9], body)
}

fn parse_v6(packet: &[u8]) -> Result<Packet> {
    let header = packet.get(..40).context("IPv6 header")?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = if length == 0 {
        packet.len()
    } else {
        40 + length
    };
    let address = |at: usize| -> Result<IpAddr> {
        let octets: [u8; 16] = header[at..at + 16].try_into()?;
        Ok(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let (mut next, mut body) = (header[6], packet.get(40..end).context("IPv6 body")?);
    if next == 0 {
        // Hop-by-hop options: a jumbogram of the kernel's own making.
        let length = 8 + usize::from(*body.get(1).context("options")?) * 8;
        next = body[0];
        body = body.get(length..).context("options")?;
    }
    parse_transport(address(8)?, address(24)?, next, body)
}

fn parse_transport(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    body: &[u8],
) -> Result<Packet> {
    let port = |at: usize| {
        body.get(at..at + 2)
            .map(|port| u16::from_be_bytes([port[0], port[1]]))
    };
    let (transport, header_length) = match protocol {
        6 => {
            let header = body.get(..20).context("TCP header")?;
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            (
                Transport::Tcp {
                    sequence,
                    syn: header[13] & 0x02 != 0,
                },
                usize::from(header[12] >> 4) * 4,
            )
        }
        17 => (Transport::Udp, 8),
        _ => (Transport::Other, 0),
    };
    let (from, to) = match transport {
        Transport::Other => (0, 0),
        _ => (
            port(0).context("source port")?,
            port(2).context("destination port")?,
        ),
    };
    Ok(Packet {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
        transport,
        payload: body.get(header_length..).context("payload")?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(frame: &[u8]) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap().to_ne_bytes();
        [&[0; 8][..], &length, &length, frame].concat()
    }

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[..4].copy_from_slice(&[0x30, 0x39, 0x00, 0x50]);
        header[4..8].copy_from_slice(&7u32.to_be_bytes());
        header[12] = 0x50;
        header[13] = 0x02;
        [header, payload.to_vec()].concat()
    }

    #[test]
    fn a_segment_over_v4_is_read_without_its_padding() {
        let body = tcp(b"hello");
        let mut ip = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        ip[3] = u8::try_from(20 + body.len()).unwrap();
        let frame = [&[0; 12][..], &[0x08, 0x00], &ip, &body, b"padding"].concat();
        let bytes = record(&frame);
        let (packet, length) = next_record(&bytes).unwrap().unwrap();
        let packet = packet.unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(packet.source, "10.0.0.1:12345".parse().unwrap());
        assert_eq!(packet.destination, "10.0.0.2:80".parse().unwrap());
        assert_eq!(
            packet.transport,
            Transport::Tcp {
                sequence: 7,
                syn: true
            }
        );
        assert_eq!(packet.payload, b"hello");
        assert!(packet.contains(b"ell") && !packet.contains(b"padding"));
    }

    #[test]
    fn a_segment_over_v6_is_read() {
        let body = tcp(b"hi");
        let mut ip = vec![0x60, 0, 0, 0, 0, u8::try_from(body.len()).unwrap(), 6, 64];
        ip.extend("fd10::1".parse::<Ipv6Addr>().unwrap().octets());
        ip.extend("fd10::2".parse::<Ipv6Addr>().unwrap().octets());
        let frame = [&[0; 12][..], &[0x86, 0xdd], &ip, &body].concat();
        let (packet, _) = next_record(&record(&frame)).unwrap().unwrap();
        let packet = packet.unwrap();
        assert_eq!(packet.destination, "[fd10::2]:80".parse().unwrap());
        assert_eq!(packet.payload, b"hi");
    }

    #[test]
    fn an_unfinished_record_waits_and_a_cut_one_is_an_error() {
        let whole = record(&[0; 60]);
        assert!(next_record(&whole[..whole.len() - 1]).unwrap().is_none());
        let mut cut = record(&[0; 60]);
        cut[12] = 61;
        assert!(next_record(&cut).is_err());
    }
}
