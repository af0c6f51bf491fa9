//! The engine against rules, floods and itself, without a socket.

mod floods;
mod pairs;
mod rules;
mod streams;

use super::frame::{self, HEADER, Head as FrameHead, PREFACE, flag, kind};
use super::hpack::Encoder;
use super::*;
use bytes::Bytes;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(super) fn setup(role: Role) -> Setup {
    let limits = Limits::new(if role == Role::Server { 10 } else { 0 }, 16_384);
    Setup {
        role,
        stream_window: 100_000,
        connection_window: 400_000,
        frame_size: 1 << 20,
        client_streams: 10,
        send_buffer: 256 * 1024,
        limits,
    }
}

pub(super) fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A frame as a peer sends it.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHead {
        length: payload.len() as u32,
        kind,
        flags,
        stream,
    };
    [&head.bytes()[..], payload].concat()
}

/// A connection whose peer is a test that writes frames.
pub(super) struct Raw {
    pub(super) connection: Connection,
    now: Duration,
}

/// A frame that the connection sent.
pub(super) type Sent = (u8, u8, u32, Vec<u8>);

impl Raw {
    /// After the first SETTINGS of both.
    pub(super) fn new(role: Role) -> Self {
        let mut raw = Self {
            connection: Connection::new(&setup(role)),
            now: Duration::ZERO,
        };
        if role == Role::Server {
            raw.bytes(PREFACE).unwrap();
        }
        raw.send(kind::SETTINGS, 0, 0, &[]).unwrap();
        raw.sent();
        raw
    }

    pub(super) fn server() -> Self {
        Self::new(Role::Server)
    }

    /// A client with a stream that the server has answered.
    pub(super) fn client() -> Self {
        let mut raw = Self::new(Role::Client);
        assert_eq!(raw.open(), 1);
        raw.answer(1);
        raw
    }

    pub(super) fn open(&mut self) -> u32 {
        let opened = self
            .connection
            .poll_open("10.0.0.1:80", &Fields::default(), &cx());
        let Poll::Ready(Ok(id)) = opened else {
            panic!("{opened:?}")
        };
        self.sent();
        id
    }

    pub(super) fn answer(&mut self, id: u32) {
        self.send(kind::HEADERS, flag::END_HEADERS, id, &[0x88])
            .unwrap();
        let answer = self.connection.poll_answer(id, &cx());
        assert!(matches!(answer, Poll::Ready(Ok(_))), "{answer:?}");
    }

    /// A server with a stream that it has answered.
    pub(super) fn serving() -> Self {
        let mut raw = Self::server();
        raw.request(1).unwrap();
        let (id, head) = raw.connection.take_request().unwrap();
        assert!(id == 1 && head.is_connect());
        raw.connection
            .answer_with(1, 200, &Fields::default(), false)
            .unwrap();
        raw.sent();
        raw
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.connection
            .receive(Bytes::copy_from_slice(bytes), self.now)
    }

    pub(super) fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), Failure> {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// A CONNECT.
    pub(super) fn request(&mut self, id: u32) -> Result<(), Failure> {
        self.send(kind::HEADERS, flag::END_HEADERS, id, &connect())
    }

    /// The frames that it sent since the last call.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let mut bytes = Vec::new();
        while let Some(front) = self.connection.output() {
            let n = front.len();
            bytes.extend_from_slice(front);
            self.connection.sent(n);
        }
        self.connection.all_sent();
        let mut frames = Vec::new();
        let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
        while let Some((head, more)) = rest.split_first_chunk::<HEADER>() {
            let head = FrameHead::parse(*head);
            let (payload, more) = more.split_at(head.length as usize);
            frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
            rest = more;
        }
        frames
    }

    /// The error code of the last RST_STREAM of a stream.
    pub(super) fn reset_code(&mut self, id: u32) -> Option<Code> {
        let sent = self.sent();
        let reset = sent
            .iter()
            .rev()
            .find(|f| f.0 == kind::RST_STREAM && f.2 == id)?;
        Some(Code(frame::number(&reset.3, 0)))
    }

    /// The error code of the last GOAWAY.
    pub(super) fn goaway_code(&mut self) -> Option<Code> {
        let sent = self.sent();
        let goaway = sent.iter().rev().find(|f| f.0 == kind::GOAWAY)?;
        Some(Code(frame::number(&goaway.3, 4)))
    }

    /// What a stream has to be read, all of it.
    pub(super) fn read(&mut self, id: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.poll_data(id, &cx()) == Poll::Ready(Ok(true)) {
            let front = self.connection.front(id).to_vec();
            self.connection.consume(id, front.len());
            bytes.extend(front);
        }
        bytes
    }

    pub(super) fn write(&mut self, id: u32, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.connection.fill(id, bytes.len(), &mut cx(), |_, to| {
            let n = to.len().min(bytes.len());
            to[..n].copy_from_slice(&bytes[..n]);
            Poll::Ready(Ok(n))
        })
    }
}

/// The headers of a CONNECT.
pub(super) fn connect() -> Vec<u8> {
    let mut block = Vec::new();
    let mut encoder = Encoder::new(&mut block, false);
    encoder.connect();
    encoder.authority("10.0.0.1:80");
    block
}

/// A header block of literals.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut encoder = Encoder::new(&mut block, false);
    for (name, value) in fields {
        encoder.field(name, value.as_bytes());
    }
    block
}
