//! Cuts what arrives into frames.
//!
//! Invariants: DATA is passed on as it comes, however large its frame; any other frame is gathered whole, and only if it
//! is small; what the peer sends is never copied more than once here.

use super::Violation;
use super::frame::{Code, HEADER, Head, PREFACE, flag, kind};
use bytes::Bytes;

/// Bytes of a GOAWAY that are of interest: what follows is for people.
const GOAWAY: usize = 8;

/// A part of what arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The preface of a client.
    Preface,
    /// A whole frame other than DATA. Of one of unknown type, and of a long GOAWAY, the payload is left out.
    Frame(Head, Bytes),
    /// A DATA frame begins.
    Data(Head),
    /// Bytes of the DATA frame.
    Part(Bytes),
    /// The DATA frame ends. So many of its bytes were padding.
    DataEnd(u32),
}

#[derive(Debug)]
enum State {
    Preface,
    Head,
    /// The payload of a frame that is gathered, and so many bytes after it that are skipped.
    Body(Head, usize, u32),
    /// The length of the padding of a DATA frame.
    PadLength(u32),
    /// Bytes of DATA, then of padding, and all the padding with its length.
    Data(u32, u32, u32),
    /// Bytes that nobody wants.
    Skip(u32),
}

/// The state between two pieces.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    /// The beginning of what is gathered.
    partial: Vec<u8>,
    max_frame: u32,
    /// The largest HEADERS and CONTINUATION, and the largest SETTINGS.
    max_block: usize,
    max_settings: usize,
}

impl Parser {
    pub(super) fn new(
        preface: bool,
        max_frame: u32,
        max_block: usize,
        max_settings: usize,
    ) -> Self {
        Self {
            state: if preface { State::Preface } else { State::Head },
            partial: Vec::new(),
            max_frame,
            max_block,
            max_settings,
        }
    }

    /// Whether the preface was there, or is not to come.
    pub(super) fn began(&self) -> bool {
        !matches!(self.state, State::Preface)
    }

    /// The next piece, or nothing where more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Violation> {
        loop {
            match self.state {
                State::Preface => {
                    let seen = self.partial.len() + input.len().min(PREFACE.len());
                    let Some(preface) = self.gather(input, PREFACE.len()) else {
                        let right = PREFACE.starts_with(&self.partial);
                        return if right && seen < PREFACE.len() {
                            Ok(None)
                        } else {
                            Err(NO_PREFACE)
                        };
                    };
                    if preface.as_ref() != PREFACE {
                        return Err(NO_PREFACE);
                    }
                    self.state = State::Head;
                    return Ok(Some(Piece::Preface));
                }
                State::Head => {
                    let Some(head) = self.head(input) else {
                        return Ok(None);
                    };
                    self.begin(head)?;
                    if head.kind == kind::DATA {
                        return Ok(Some(Piece::Data(head)));
                    }
                }
                State::Body(head, length, rest) => {
                    let Some(payload) = self.gather(input, length) else {
                        return Ok(None);
                    };
                    self.state = State::Skip(rest);
                    return Ok(Some(Piece::Frame(head, payload)));
                }
                State::PadLength(length) => {
                    let Some((&padding, _)) = input.split_first() else {
                        return Ok(None);
                    };
                    let _ = input.split_to(1);
                    let padding = u32::from(padding);
                    let data = (length - 1).checked_sub(padding).ok_or(PADDING)?;
                    self.state = State::Data(data, padding, padding + 1);
                }
                State::Data(0, 0, padding) => {
                    self.state = State::Head;
                    return Ok(Some(Piece::DataEnd(padding)));
                }
                State::Data(0, rest, padding) => {
                    let n = take(input, rest);
                    if n == 0 {
                        return Ok(None);
                    }
                    self.state = State::Data(0, rest - n, padding);
                }
                State::Data(rest, pad, padding) => {
                    let n = (rest as usize).min(input.len());
                    if n == 0 {
                        return Ok(None);
                    }
                    self.state = State::Data(rest - n as u32, pad, padding);
                    return Ok(Some(Piece::Part(input.split_to(n))));
                }
                State::Skip(0) => self.state = State::Head,
                State::Skip(rest) => {
                    let n = take(input, rest);
                    if n == 0 {
                        return Ok(None);
                    }
                    self.state = State::Skip(rest - n);
                }
            }
        }
    }

    fn head(&mut self, input: &mut Bytes) -> Option<Head> {
        if self.partial.is_empty()
            && let Some(bytes) = input.first_chunk::<HEADER>()
        {
            let head = Head::parse(*bytes);
            let _ = input.split_to(HEADER);
            return Some(head);
        }
        let bytes = self.gather(input, HEADER)?;
        bytes.first_chunk::<HEADER>().copied().map(Head::parse)
    }

    /// What follows this header.
    fn begin(&mut self, head: Head) -> Result<(), Violation> {
        if head.length > self.max_frame {
            return Err(SIZE);
        }
        let length = head.length as usize;
        let fixed = |wanted: usize| {
            if length == wanted {
                Ok((length, 0))
            } else {
                Err(SIZE)
            }
        };
        let (gathered, skipped) = match head.kind {
            kind::DATA => {
                self.state = match (head.has(flag::PADDED), head.length) {
                    (true, 0) => return Err(SIZE),
                    (true, length) => State::PadLength(length),
                    (false, length) => State::Data(length, 0, 0),
                };
                return Ok(());
            }
            kind::PRIORITY => fixed(5)?,
            kind::RST_STREAM | kind::WINDOW_UPDATE => fixed(4)?,
            kind::PING => fixed(8)?,
            kind::GOAWAY if length < GOAWAY => return Err(SIZE),
            kind::GOAWAY => (GOAWAY, head.length - GOAWAY as u32),
            kind::SETTINGS if length > self.max_settings => return Err(SETTINGS),
            // Padding and priority come on top of the block.
            kind::HEADERS | kind::CONTINUATION if length > self.max_block + 261 => {
                return Err(BLOCK);
            }
            kind::SETTINGS | kind::HEADERS | kind::CONTINUATION => (length, 0),
            _ => (0, head.length),
        };
        self.state = State::Body(head, gathered, skipped);
        Ok(())
    }

    /// The next `length` bytes, once they are all there.
    fn gather(&mut self, input: &mut Bytes, length: usize) -> Option<Bytes> {
        if self.partial.is_empty() && input.len() >= length {
            return Some(input.split_to(length));
        }
        let missing = length.saturating_sub(self.partial.len());
        let more = input.split_to(missing.min(input.len()));
        self.partial.extend_from_slice(&more);
        (self.partial.len() >= length).then(|| Bytes::from(std::mem::take(&mut self.partial)))
    }
}

/// Drops at most `n` bytes; how many there were.
fn take(input: &mut Bytes, n: u32) -> u32 {
    let n = (n as usize).min(input.len());
    let _ = input.split_to(n);
    n as u32
}

const NO_PREFACE: Violation = Violation(Code::PROTOCOL_ERROR, "no HTTP/2");
const SIZE: Violation = Violation(
    Code::FRAME_SIZE_ERROR,
    "a frame of a length that it cannot have",
);
const PADDING: Violation = Violation(Code::PROTOCOL_ERROR, "more padding than frame");
const BLOCK: Violation = Violation(Code::ENHANCE_YOUR_CALM, "headers that are too long");
const SETTINGS: Violation = Violation(Code::ENHANCE_YOUR_CALM, "too many settings at once");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let head = Head {
            length: payload.len() as u32,
            kind,
            flags,
            stream,
        };
        [&head.bytes()[..], payload].concat()
    }

    /// All pieces, parts of one frame joined.
    fn pieces(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Piece>, Violation> {
        let mut parser = Parser::new(true, 1 << 20, 65_536, 384);
        let mut found: Vec<Piece> = Vec::new();
        let mut at = 0;
        let mut cuts = cuts.iter().cycle();
        while at < bytes.len() {
            let next = (at + cuts.next().copied().unwrap_or(bytes.len())).min(bytes.len());
            let mut input = Bytes::copy_from_slice(&bytes[at..next]);
            at = next;
            while let Some(piece) = parser.next(&mut input)? {
                match (found.last_mut(), piece) {
                    (Some(Piece::Part(old)), Piece::Part(new)) => {
                        *old = [&old[..], &new[..]].concat().into();
                    }
                    (_, piece) => found.push(piece),
                }
            }
            assert!(input.is_empty());
        }
        Ok(found)
    }

    #[test]
    fn frames_of_every_kind() {
        let bytes = [
            PREFACE.to_vec(),
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
            frame(kind::DATA, flag::PADDED, 1, b"\x03data\0\0\0"),
            frame(kind::DATA, 0, 1, b""),
            frame(77, 0, 1, b"unknown"),
            frame(kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0debug"),
            frame(kind::PING, 0, 0, b"12345678"),
        ]
        .concat();
        let whole = pieces(&bytes, &[bytes.len()]).unwrap();
        assert_eq!(whole.len(), 10);
        assert_eq!(whole[3], Piece::Part(Bytes::from_static(b"data")));
        assert_eq!(whole[4], Piece::DataEnd(4));
        assert!(
            matches!(&whole[7], Piece::Frame(head, payload) if head.kind == 77 && payload.is_empty())
        );
        assert!(matches!(&whole[8], Piece::Frame(_, payload) if payload.len() == 8));
        for cut in 1..20 {
            assert_eq!(pieces(&bytes, &[cut]).unwrap(), whole);
        }
    }

    #[test]
    fn lengths_that_cannot_be() {
        for wrong in [
            frame(kind::PING, 0, 0, b"1234567"),
            frame(kind::RST_STREAM, 0, 1, b"12345"),
            frame(kind::WINDOW_UPDATE, 0, 1, b""),
            frame(kind::GOAWAY, 0, 0, b"1234567"),
            frame(kind::DATA, flag::PADDED, 1, b""),
            frame(kind::DATA, flag::PADDED, 1, b"\x05data"),
            frame(kind::SETTINGS, 0, 0, &[0; 390]),
            frame(kind::DATA, 0, 1, &vec![0; (1 << 20) + 1]),
            frame(kind::HEADERS, 0, 1, &vec![0; 65_536 + 262]),
        ] {
            let bytes = [&PREFACE[..], &wrong].concat();
            assert!(pieces(&bytes, &[bytes.len()]).is_err(), "{:?}", &wrong[..9]);
        }
        assert!(pieces(b"GET / HTTP/1.1\r\n", &[3]).is_err());
        assert!(pieces(b"PRI * HTTP/2.0\r\n\r\nXX", &[1]).is_err());
    }

    proptest! {
        #[test]
        fn where_bytes_are_cut_makes_no_difference(
            frames in proptest::collection::vec((0u8..12, any::<u8>(), 0u32..5, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in proptest::collection::vec(1usize..50, 1..10),
        ) {
            let mut bytes = PREFACE.to_vec();
            for (kind, flags, stream, payload) in &frames {
                bytes.extend(frame(*kind, *flags, *stream, payload));
            }
            prop_assert_eq!(pieces(&bytes, &cuts), pieces(&bytes, &[bytes.len()]));
        }
    }
}
