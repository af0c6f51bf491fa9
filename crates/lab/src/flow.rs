//! TCP byte streams put together from captured segments, and whether they are TLS from their first byte to their last.

use crate::packet::{Packet, Transport};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

const RECORD_HEADER: usize = 5;
/// TLS 1.3: 2^14 bytes and at most 256 of expansion.
const MAX_RECORD: usize = (1 << 14) + 256;
const APPLICATION_DATA: u8 = 23;

/// What TLS streams of a capture amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Directions of connections.
    pub streams: usize,
    /// Records of any type.
    pub records: usize,
    /// Bytes of application data records, with what encryption adds.
    pub application_bytes: usize,
}

/// Puts the TCP streams of `packets` together and walks their TLS records. Fails at the first byte that is none.
pub fn tls<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Result<Tls> {
    let mut streams: HashMap<(SocketAddr, SocketAddr), Stream> = HashMap::new();
    for packet in packets {
        let Transport::Tcp { sequence, syn } = packet.transport else {
            continue;
        };
        let key = (packet.source, packet.destination);
        let what = || format!("{} to {}", packet.source, packet.destination);
        if syn {
            streams.insert(key, Stream::new(sequence));
        }
        if packet.payload.is_empty() {
            continue;
        }
        let stream = streams
            .get_mut(&key)
            .with_context(|| format!("{}: its beginning was not captured", what()))?;
        stream.take(sequence, &packet.payload).with_context(what)?;
    }
    let mut total = Tls {
        streams: streams.len(),
        ..Tls::default()
    };
    for ((from, to), stream) in &streams {
        ensure!(stream.is_whole(), "{from} to {to}: a segment is missing");
        total.records += stream.walker.records;
        total.application_bytes += stream.walker.application_bytes;
    }
    Ok(total)
}

/// One direction of a connection, walked as TLS while its segments come.
#[derive(Debug)]
pub struct Stream {
    /// The sequence number of the first byte.
    first: u32,
    /// Bytes walked so far.
    taken: u32,
    /// Segments that came before their predecessors did, by their offset.
    early: BTreeMap<u32, Vec<u8>>,
    walker: Walker,
}

impl Stream {
    /// Begins at the sequence number of a SYN.
    pub fn new(initial_sequence: u32) -> Self {
        Self {
            first: initial_sequence.wrapping_add(1),
            taken: 0,
            early: BTreeMap::new(),
            walker: Walker::default(),
        }
    }

    /// Takes a segment, in any order, also one that was sent again. Fails at the first byte that is no TLS.
    pub fn take(&mut self, sequence: u32, payload: &[u8]) -> Result<()> {
        self.early
            .insert(sequence.wrapping_sub(self.first), payload.to_vec());
        while let Some(entry) = self.early.first_entry() {
            let Some(known) = self.taken.checked_sub(*entry.key()) else {
                break;
            };
            // A byte that was sent again is walked once.
            let bytes = entry.remove();
            let new = bytes.get(usize::try_from(known)?..).unwrap_or_default();
            self.walker.walk(new)?;
            // Sequence numbers wrap.
            self.taken = self.taken.wrapping_add(u32::try_from(new.len())?);
        }
        Ok(())
    }

    /// Whether no segment is missing before one that came.
    pub fn is_whole(&self) -> bool {
        self.early.is_empty()
    }

    /// Whether a SYN of this sequence number began it.
    pub fn begins_at(&self, initial_sequence: u32) -> bool {
        self.first == initial_sequence.wrapping_add(1)
    }

    /// TLS records so far.
    pub fn records(&self) -> usize {
        self.walker.records
    }
}

/// Follows record headers through a stream.
#[derive(Debug, Default)]
struct Walker {
    header: Vec<u8>,
    body_left: usize,
    records: usize,
    application_bytes: usize,
}

impl Walker {
    fn walk(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let step = self.body_left.min(bytes.len());
                self.body_left -= step;
                bytes = &bytes[step..];
                continue;
            }
            let step = (RECORD_HEADER - self.header.len()).min(bytes.len());
            self.header.extend(&bytes[..step]);
            bytes = &bytes[step..];
            if self.header.len() == RECORD_HEADER {
                self.open()?;
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        let header = std::mem::take(&mut self.header);
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let known =
            matches!(header[0], 20..=APPLICATION_DATA) && header[1] == 3 && length <= MAX_RECORD;
        ensure!(known, "bytes {header:02x?} are no header of a TLS record");
        self.records += 1;
        self.body_left = length;
        if header[0] == APPLICATION_DATA {
            self.application_bytes += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISN: u32 = u32::MAX - 3;

    fn segment(offset: u32, syn: bool, payload: &[u8]) -> Packet {
        Packet {
            source: "10.0.0.1:1000".parse().unwrap(),
            destination: "10.0.0.2:15008".parse().unwrap(),
            transport: Transport::Tcp {
                sequence: ISN.wrapping_add(offset),
                syn,
            },
            payload: payload.to_vec(),
        }
    }

    /// A handshake record of 2 bytes and an application data record of 3.
    const STREAM: &[u8] = &[22, 3, 1, 0, 2, 0xaa, 0xbb, 23, 3, 3, 0, 3, 1, 2, 3];

    #[test]
    fn records_are_counted_across_segments_in_any_order_and_sent_twice() {
        let packets = [
            segment(0, true, b""),
            segment(10, false, &STREAM[9..]),
            segment(1, false, &STREAM[..4]),
            segment(1, false, &STREAM[..4]),
            segment(4, false, &STREAM[3..9]),
        ];
        assert_eq!(
            tls(&packets).unwrap(),
            Tls {
                streams: 1,
                records: 2,
                application_bytes: 3
            }
        );
    }

    #[test]
    fn what_is_no_tls_is_found() {
        let error =
            tls(&[segment(0, true, b""), segment(1, false, b"GET / HTTP/1.1")]).unwrap_err();
        assert!(
            format!("{error:#}").contains("no header of a TLS record"),
            "{error:#}"
        );
        let after = [STREAM, b"GET / "].concat();
        assert!(tls(&[segment(0, true, b""), segment(1, false, &after)]).is_err());
    }

    #[test]
    fn a_stream_with_a_gap_or_no_beginning_is_no_evidence() {
        assert!(tls(&[segment(1, false, STREAM)]).is_err());
        assert!(tls(&[segment(0, true, b""), segment(2, false, &STREAM[1..])]).is_err());
    }
}
