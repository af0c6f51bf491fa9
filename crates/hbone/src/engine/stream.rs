//! One stream as its connection keeps it.
//!
//! Invariants: a direction that ended never opens again; a stream is kept for as long as somebody holds its handle or it
//! is open, no longer; an idle one owns no memory but this.

use super::frame::Code;
use super::head::Head;
use super::queue::Queue;
use super::{Failure, Role, StreamError};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::task::Waker;

/// Who ended a stream before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The peer, by RST_STREAM.
    Peer(Code),
    /// We.
    Local(Code),
    /// The peer said by GOAWAY that it did nothing with it.
    Unprocessed,
}

impl Reset {
    pub(crate) fn error(self) -> StreamError {
        match self {
            Self::Peer(Code::REFUSED_STREAM) | Self::Unprocessed => StreamError::NotProcessed,
            Self::Peer(code) => StreamError::Reset(code),
            Self::Local(code) => StreamError::Local(code),
        }
    }
}

/// A stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// What arrived and was not read.
    pub(crate) queue: Queue,
    /// Bytes that we may send. Negative after the peer made its window smaller.
    pub(crate) send_window: i64,
    /// Bytes that the peer may send.
    pub(crate) recv_window: u32,
    /// Bytes that were read and of which the peer was not told.
    pub(crate) unreported: u32,
    /// The connection's batch in which it sent last, and the bytes it sent without a pause.
    pub(crate) batch: u32,
    pub(crate) burst: u32,
    /// Bytes that it may send because it is its turn.
    pub(crate) granted: u32,
    /// The peer's answer until somebody takes it.
    pub(crate) answer: Option<Box<Head>>,
    pub(crate) reset: Option<Reset>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// Somebody holds its handle.
    pub(crate) held: bool,
    /// It counts as one of the open ones.
    pub(crate) counted: bool,
    /// A server sent its answer; a client got it.
    pub(crate) answered: bool,
    pub(crate) send_ended: bool,
    pub(crate) recv_ended: bool,
    /// It waits for its turn to send.
    pub(crate) waiting: bool,
    /// Its reader cannot take what is there, and is to be woken when the stream breaks only.
    pub(crate) parked: bool,
    /// What it sent in its last batch ended in a small frame.
    pub(crate) small: bool,
}

/// Least capacity that is kept for streams.
const KEPT: usize = 16;

impl Stream {
    pub(crate) fn is_open(&self) -> bool {
        self.reset.is_none() && !(self.send_ended && self.recv_ended)
    }

    /// Wakes all who wait for something of it.
    pub(crate) fn wake(&mut self) {
        self.wake_reader();
        self.wake_writer();
    }

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Why nothing can be sent, if so.
    pub(crate) fn send_error(&self, failure: Option<Failure>) -> Option<StreamError> {
        match (self.reset, failure) {
            (Some(reset), _) => Some(reset.error()),
            (None, Some(failure)) => Some(StreamError::Connection(failure)),
            (None, None) if self.send_ended => Some(StreamError::Ended),
            (None, None) => None,
        }
    }

    /// Why nothing more arrives, other than by its end. What a client sent whole is worth nothing after it has left; what
    /// a server sent whole stays whole (RFC 9113 section 8.1).
    pub(crate) fn recv_error(&self, role: Role, failure: Option<Failure>) -> Option<StreamError> {
        let left = role == Role::Server
            && matches!(self.reset, Some(Reset::Peer(code)) if code != Code::NO_ERROR);
        match (self.reset, failure) {
            _ if self.recv_ended && !left => None,
            (Some(reset), _) => Some(reset.error()),
            (None, Some(failure)) => Some(StreamError::Connection(failure)),
            (None, None) => None,
        }
    }
}

/// Numbers of streams are spread by one multiplication: there are few at once, and a peer that chooses them badly slows
/// down its own connection by little.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte) ^ self.0 as u32);
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// The streams of a connection by number.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    map: HashMap<u32, Stream, BuildHasherDefault<Spread>>,
    open: u32,
}

impl Streams {
    /// Streams that count as open: those that the limit of concurrent streams is about.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Streams that are kept, also because somebody still holds their handle.
    pub(crate) fn kept(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Stream> {
        self.map.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.map.get_mut(&id)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&u32, &mut Stream)> {
        self.map.iter_mut()
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.map.keys().copied().collect()
    }

    pub(crate) fn insert(&mut self, id: u32, mut stream: Stream) {
        stream.counted = true;
        self.open += 1;
        self.map.insert(id, stream);
    }

    /// To be called after a stream may have closed, or its handle was dropped. Yields it if that was its end.
    pub(crate) fn settle(&mut self, id: u32) -> Option<Stream> {
        let stream = self.map.get_mut(&id)?;
        if stream.is_open() {
            return None;
        }
        if std::mem::take(&mut stream.counted) {
            self.open -= 1;
        }
        if stream.held {
            return None;
        }
        let stream = self.map.remove(&id);
        if self.map.capacity() > KEPT && self.map.len() < self.map.capacity() / 8 {
            self.map.shrink_to(KEPT / 2);
        }
        stream
    }
}
