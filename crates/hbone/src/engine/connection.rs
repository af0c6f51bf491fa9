//! One connection: its streams, windows and settings, and what it owes its peer.
//!
//! Invariant: every change of a stream that may close it ends in [`Connection::settle`], so that counts, turns and
//! memory agree with what is open.

mod control;
mod data;
mod headers;
mod open;
mod receive;
mod turns;

use super::frame::{Code, DEFAULT_FRAME, DEFAULT_WINDOW, MAX_31, PREFACE, kind, setting};
use super::head::Head;
use super::hpack::Decoder;
use super::limits::{Budget, Limits};
use super::output::Output;
use super::parser::Parser;
use super::stream::{Reset, Streams};
use super::{Failure, Violation};
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;
use turns::Turns;

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What a connection starts with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) role: Role,
    /// Bytes of a stream that the peer may send before they are read.
    pub(crate) stream_window: u32,
    /// The same for all streams together.
    pub(crate) connection_window: u32,
    /// The largest frame that we take.
    pub(crate) frame_size: u32,
    /// Streams that a client opens before it knows how many its server takes.
    pub(crate) client_streams: u32,
    /// Bytes that may wait for the socket.
    pub(crate) send_buffer: usize,
    pub(crate) limits: Limits,
}

/// What the peer said of itself.
#[derive(Debug)]
struct Peer {
    /// Its first SETTINGS came.
    spoke: bool,
    window: u32,
    frame: usize,
    streams: u32,
    /// Its header table shrank, which the next header block has to acknowledge.
    announce: bool,
}

/// The window of the connection for what arrives.
#[derive(Debug)]
struct Window {
    size: u32,
    left: u32,
    unreported: u32,
}

/// GOAWAY in both directions.
#[derive(Debug, Default)]
struct Going {
    /// The last stream of the peer that we serve.
    sent: Option<u32>,
    /// A PING is on its way, after which the peer knows that it is to open no more streams.
    asked: bool,
    /// The last stream of ours that the peer serves, and why it goes.
    received: Option<(u32, Code)>,
}

/// A connection of HTTP/2.
pub(crate) struct Connection {
    role: Role,
    limits: Limits,
    parser: Parser,
    decoder: Decoder,
    /// A header block of several frames.
    block: Option<headers::Block>,
    /// A DATA frame of which more is to come.
    data: Option<data::Frame>,
    streams: Streams,
    peer: Peer,
    send_window: i64,
    /// The window that our streams start with.
    stream_window: u32,
    recv: Window,
    /// The last stream that the peer opened, and the next one of ours.
    last_peer: u32,
    next_local: u32,
    /// Streams that hold parts of the last read buffer.
    pinned: Vec<u32>,
    out: Output,
    send_buffer: usize,
    turns: Turns,
    requests: VecDeque<(u32, Head)>,
    pong: bool,
    now: Duration,
    resets: Budget,
    frames: Budget,
    /// Streams that were reset here a short while ago.
    remembered: VecDeque<u32>,
    going: Going,
    failure: Option<Failure>,
    /// Those who wait until a stream may be opened.
    openers: Vec<Waker>,
}

/// The PING that asks whether the peer is there, and the one that ends a drain.
const ALIVE: [u8; 8] = *b"alive\0\0\0";
const DRAIN: [u8; 8] = *b"drain\0\0\0";

impl Connection {
    /// A connection whose preface, settings and windows are ready to be sent.
    pub(crate) fn new(setup: &Setup) -> Self {
        let server = setup.role == Role::Server;
        let limits = setup.limits.clone();
        let parser = Parser::new(
            server,
            setup.frame_size,
            limits.header_block,
            limits.settings * 6,
        );
        let mut connection = Self {
            role: setup.role,
            parser,
            decoder: Decoder::new(),
            block: None,
            data: None,
            streams: Streams::default(),
            peer: Peer {
                spoke: false,
                window: DEFAULT_WINDOW,
                frame: DEFAULT_FRAME as usize,
                streams: setup.client_streams,
                announce: false,
            },
            send_window: i64::from(DEFAULT_WINDOW),
            stream_window: setup.stream_window.min(MAX_31),
            recv: Window {
                size: setup.connection_window.clamp(DEFAULT_WINDOW, MAX_31),
                left: setup.connection_window.clamp(DEFAULT_WINDOW, MAX_31),
                unreported: 0,
            },
            last_peer: 0,
            next_local: 1,
            pinned: Vec::new(),
            out: Output::default(),
            send_buffer: setup.send_buffer,
            turns: Turns::default(),
            requests: VecDeque::new(),
            pong: false,
            now: Duration::ZERO,
            resets: Budget::new(limits.resets),
            frames: Budget::new(limits.frames),
            remembered: VecDeque::new(),
            going: Going::default(),
            failure: None,
            openers: Vec::new(),
            limits,
        };
        connection.greet(setup);
        connection
    }

    fn greet(&mut self, setup: &Setup) {
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, self.stream_window),
            (setting::MAX_FRAME_SIZE, setup.frame_size),
            (setting::MAX_HEADER_LIST_SIZE, self.limits.header_list),
        ];
        match self.role {
            Role::Client => {
                self.out.put(PREFACE);
                settings.push((setting::ENABLE_PUSH, 0));
            }
            Role::Server => settings.push((setting::MAX_CONCURRENT_STREAMS, self.limits.streams)),
        }
        self.put_settings(&settings);
        let more = self.recv.size - DEFAULT_WINDOW;
        if more > 0 {
            self.out
                .frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Whether the peer's first bytes were HTTP/2.
    pub(crate) fn began(&self) -> bool {
        self.parser.began()
    }

    /// Streams that are open.
    pub(crate) fn open_streams(&self) -> u32 {
        self.streams.open()
    }

    /// Why the connection is no more.
    #[cfg(test)]
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// The connection is no more: all that is open ends.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(failure);
        self.block = None;
        for (id, _) in std::mem::take(&mut self.requests) {
            self.release(id);
        }
        for (_, stream) in self.streams.iter_mut() {
            stream.wake();
        }
        self.wake_openers();
    }

    /// The peer sends no more bytes. It may leave when there are no streams.
    pub(crate) fn peer_left(&mut self) -> Result<(), Failure> {
        let in_order = self.streams.open() == 0 && self.began();
        let failure = match self.going.received {
            Some((_, code)) if code != Code::NO_ERROR => Failure::Peer(code),
            _ => Failure::Left,
        };
        // In any case nothing can be opened any more.
        self.fail(failure);
        if in_order { Ok(()) } else { Err(failure) }
    }

    /// The peer broke a rule: it is told, and the connection is no more.
    fn violate(&mut self, Violation(code, what): Violation) -> Failure {
        self.goaway(self.last_peer, code);
        let failure = Failure::Violation { code, what };
        self.fail(failure);
        failure
    }

    /// A request that nobody has seen yet.
    pub(crate) fn take_request(&mut self) -> Option<(u32, Head)> {
        while let Some((id, head)) = self.requests.pop_front() {
            // One that was reset meanwhile is nobody's work.
            if self.streams.get(id).is_some_and(|s| s.reset.is_none()) {
                return Some((id, head));
            }
            self.release(id);
        }
        self.requests = VecDeque::new();
        None
    }

    /// The next bytes to be sent.
    pub(crate) fn output(&self) -> Option<&[u8]> {
        self.out.front()
    }

    /// Whether there is something to be sent, or a turn to be given.
    pub(crate) fn has_work(&self) -> bool {
        self.out.len() > 0 || self.somebody_waits()
    }

    /// The first `n` bytes of the output were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.out.consume(n);
    }

    /// The socket takes no more for now.
    pub(crate) fn blocked(&mut self) {
        self.out.settle();
    }

    /// A stream may have closed, or its handle was dropped.
    fn settle(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.is_open() {
            return;
        }
        self.streams.settle(id);
        if self.can_open() {
            self.wake_openers();
        }
    }

    fn wake_openers(&mut self) {
        for waker in std::mem::take(&mut self.openers) {
            waker.wake();
        }
    }

    /// Ends a stream at once.
    pub(crate) fn reset(&mut self, id: u32, code: Code) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if !stream.is_open() {
            return;
        }
        stream.reset = Some(Reset::Local(code));
        stream.wake();
        let unread = stream.queue.clear();
        if self.failure.is_none() {
            self.put_reset(id, code);
            self.give_back(unread);
        }
        self.settle(id);
    }

    fn put_reset(&mut self, id: u32, code: Code) {
        self.out
            .frame(kind::RST_STREAM, 0, id, &code.0.to_be_bytes());
        if self.remembered.len() >= self.limits.remembered {
            self.remembered.pop_front();
        }
        self.remembered.push_back(id);
    }

    /// Nobody holds the handle of a stream any more.
    pub(crate) fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        stream.held = false;
        (stream.reader, stream.writer) = (None, None);
        // RFC 9113 section 8.1: after a complete answer, this says that the rest of the request is not wanted.
        let code = if self.role == Role::Server && stream.send_ended {
            Code::NO_ERROR
        } else {
            Code::CANCEL
        };
        let unread = if stream.is_open() {
            self.reset(id, code);
            0
        } else {
            stream.queue.clear()
        };
        if self.failure.is_none() {
            self.give_back(unread);
        }
        self.settle(id);
    }

    #[cfg(test)]
    pub(crate) fn output_len(&self) -> usize {
        self.out.len()
    }

    #[cfg(test)]
    pub(crate) fn streams_kept(&self) -> usize {
        self.streams.kept()
    }

    /// The number of streams that the peer opened.
    #[cfg(test)]
    pub(crate) fn streams_seen(&self) -> u32 {
        self.last_peer.div_ceil(2)
    }

    /// What we may send; what the peer may, and what it will be allowed.
    #[cfg(test)]
    pub(crate) fn windows(&self) -> (i64, u32, u32) {
        (self.send_window, self.recv.left, self.recv.unreported)
    }
}
