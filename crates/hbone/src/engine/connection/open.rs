//! Streams that we open, answer and end.
//!
//! Invariant: a stream's number is used once, and only where the peer has room for it.

use super::super::StreamError;
use super::super::frame::{Code, HEADER, Head as FrameHead, MAX_31, flag, kind};
use super::super::head::{Fields, Head};
use super::super::hpack::Encoder;
use super::super::stream::Stream;
use super::data::register;
use super::{Connection, Role};
use std::task::{Context, Poll};

impl Connection {
    /// Whether the peer still takes new streams.
    pub(crate) fn is_usable(&self) -> bool {
        self.role == Role::Client
            && self.failure.is_none()
            && self.going.sent.is_none()
            && self.going.received.is_none()
            && self.next_local <= MAX_31
    }

    pub(super) fn can_open(&self) -> bool {
        self.streams.open() < self.peer.streams
    }

    /// Streams that the peer lets us open at once.
    pub(crate) fn peer_streams(&self) -> u32 {
        self.peer.streams
    }

    /// Opens a stream by a CONNECT as soon as the peer has room for it.
    pub(crate) fn poll_open(
        &mut self,
        authority: &str,
        fields: &Fields,
        cx: &Context<'_>,
    ) -> Poll<Result<u32, StreamError>> {
        if !self.is_usable() {
            return Poll::Ready(Err(StreamError::NotProcessed));
        }
        if !self.can_open() {
            if !self.openers.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.openers.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let id = self.next_local;
        self.next_local += 2;
        let stream = Stream {
            send_window: i64::from(self.peer.window),
            recv_window: self.stream_window,
            held: true,
            ..Stream::default()
        };
        self.streams.insert(id, stream);
        let mut block = Vec::with_capacity(512);
        let mut encoder = Encoder::new(&mut block, std::mem::take(&mut self.peer.announce));
        encoder.connect();
        encoder.authority(authority);
        for (name, value) in fields.iter() {
            encoder.field(name, value);
        }
        self.put_block(id, false, &block);
        Poll::Ready(Ok(id))
    }

    /// The answer to a stream that we opened.
    pub(crate) fn poll_answer(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<Head, StreamError>> {
        let (role, failure) = (self.role, self.failure);
        let Some(stream) = self.streams.get_mut(id) else {
            return Poll::Ready(Err(StreamError::Ended));
        };
        if let Some(head) = stream.answer.take() {
            return Poll::Ready(Ok(*head));
        }
        if let Some(error) = stream.recv_error(role, failure) {
            return Poll::Ready(Err(error));
        }
        register(&mut stream.reader, cx);
        Poll::Pending
    }

    /// Answers a stream that the peer opened, and ends it if `ends`.
    pub(crate) fn answer_with(
        &mut self,
        id: u32,
        status: u16,
        fields: &Fields,
        ends: bool,
    ) -> Result<(), StreamError> {
        let failure = self.failure;
        let stream = self.streams.get_mut(id).ok_or(StreamError::Ended)?;
        if let Some(error) = stream.send_error(failure) {
            return Err(error);
        }
        stream.answered = true;
        self.put_answer(id, status, fields, ends);
        if ends && let Some(stream) = self.streams.get_mut(id) {
            stream.send_ended = true;
            if !stream.recv_ended {
                // The rest of the request is not wanted.
                self.reset(id, Code::NO_ERROR);
            }
            self.settle(id);
        }
        Ok(())
    }

    /// Answers a request that never becomes a stream.
    pub(super) fn answer_at_once(&mut self, id: u32, status: u16) {
        self.put_answer(id, status, &Fields::default(), true);
        self.put_reset(id, Code::NO_ERROR);
    }

    fn put_answer(&mut self, id: u32, status: u16, fields: &Fields, ends: bool) {
        let mut block = Vec::with_capacity(256);
        let mut encoder = Encoder::new(&mut block, std::mem::take(&mut self.peer.announce));
        encoder.status(status);
        for (name, value) in fields.iter() {
            encoder.field(name, value);
        }
        self.put_block(id, ends, &block);
    }

    /// A header block in as many frames as the peer's frame size needs.
    fn put_block(&mut self, id: u32, ends: bool, block: &[u8]) {
        let mut kind = kind::HEADERS;
        let mut flags = if ends { flag::END_STREAM } else { 0 };
        let mut rest = block;
        loop {
            let (now, later) = rest.split_at(rest.len().min(self.peer.frame));
            if later.is_empty() {
                flags |= flag::END_HEADERS;
            }
            let head = FrameHead {
                length: now.len() as u32,
                kind,
                flags,
                stream: id,
            };
            let bytes: [u8; HEADER] = head.bytes();
            self.out.put(&bytes);
            self.out.put(now);
            if later.is_empty() {
                return;
            }
            (kind, flags, rest) = (kind::CONTINUATION, 0, later);
        }
    }

    /// Nothing more is sent on a stream.
    pub(crate) fn end(&mut self, id: u32) -> Result<(), StreamError> {
        let failure = self.failure;
        let stream = self.streams.get_mut(id).ok_or(StreamError::Ended)?;
        if stream.send_ended && stream.reset.is_none() {
            return Ok(());
        }
        if let Some(error) = stream.send_error(failure) {
            return Err(error);
        }
        stream.send_ended = true;
        self.out.end(id);
        self.settle(id);
        Ok(())
    }

    /// Whether the peer has ended a stream.
    pub(crate) fn has_ended(&self, id: u32) -> bool {
        self.streams.get(id).is_some_and(|stream| stream.recv_ended)
    }

    /// Ready when the peer wants no more of what is sent on a stream.
    pub(crate) fn poll_reset(&mut self, id: u32, cx: &Context<'_>) -> Poll<StreamError> {
        let failure = self.failure;
        let Some(stream) = self.streams.get_mut(id) else {
            return Poll::Ready(StreamError::Ended);
        };
        match (stream.reset, failure) {
            (Some(reset), _) => return Poll::Ready(reset.error()),
            (None, Some(failure)) => return Poll::Ready(StreamError::Connection(failure)),
            (None, None) => register(&mut stream.writer, cx),
        }
        Poll::Pending
    }
}
