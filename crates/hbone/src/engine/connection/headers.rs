//! Header blocks that arrive: requests at a server, answers at a client, trailers at both.
//!
//! Invariants: every block is decoded, also of a stream that nobody wants, because the peer's table goes on; a stream
//! exists only of a well-formed request; what is no CONNECT is answered here.

use super::super::Violation;
use super::super::frame::{Code, Head as FrameHead, MAX_31, flag, number};
use super::super::head::{Head, Reader};
use super::super::stream::{Reset, Stream};
use super::receive::{Received, protocol};
use super::{Connection, Role};
use bytes::Bytes;

/// A header block of which more frames are to come.
pub(super) struct Block {
    pub(super) stream: u32,
    ends: bool,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    continuations: u32,
}

/// What a complete block is about.
struct List {
    stream: u32,
    ends: bool,
    depends_on_itself: bool,
    reader: Reader,
    /// It is within the limit.
    fits: bool,
}

const TOO_LONG: Violation = Violation(Code::ENHANCE_YOUR_CALM, "headers that are too long");

impl Connection {
    pub(super) fn headers(&mut self, head: FrameHead, mut payload: Bytes) -> Received {
        let padding = if head.has(flag::PADDED) {
            let padding = payload.first().copied();
            let _ = payload.split_to(payload.len().min(1));
            usize::from(padding.ok_or(protocol("HEADERS without its padding"))?)
        } else {
            0
        };
        let mut depends_on_itself = false;
        if head.has(flag::PRIORITY) {
            if payload.len() < 5 {
                let what = "HEADERS without its priority";
                return Err(Violation(Code::FRAME_SIZE_ERROR, what));
            }
            depends_on_itself = number(&payload, 0) & MAX_31 == head.stream;
            let _ = payload.split_to(5);
        }
        let length = payload.len().checked_sub(padding);
        payload.truncate(length.ok_or(protocol("more padding than HEADERS"))?);
        if head.has(flag::END_HEADERS) {
            return self.block_ends(
                head.stream,
                head.has(flag::END_STREAM),
                depends_on_itself,
                &payload,
            );
        }
        self.block = Some(Block {
            stream: head.stream,
            ends: head.has(flag::END_STREAM),
            depends_on_itself,
            bytes: payload.to_vec(),
            continuations: 0,
        });
        Ok(())
    }

    pub(super) fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Received {
        let Some(mut block) = self.block.take() else {
            return Err(protocol("CONTINUATION of nothing"));
        };
        block.continuations += 1;
        block.bytes.extend_from_slice(payload);
        if block.continuations > self.limits.continuations
            || block.bytes.len() > self.limits.header_block
        {
            return Err(TOO_LONG);
        }
        if head.has(flag::END_HEADERS) {
            return self.block_ends(
                block.stream,
                block.ends,
                block.depends_on_itself,
                &block.bytes,
            );
        }
        self.block = Some(block);
        Ok(())
    }

    fn block_ends(
        &mut self,
        stream: u32,
        ends: bool,
        depends_on_itself: bool,
        block: &[u8],
    ) -> Received {
        let mut reader = Reader::default();
        let limit = self.limits.header_list as usize;
        let fits = self
            .decoder
            .decode(block, limit, |name, value| reader.field(name, value))
            .map_err(|_| Violation(Code::COMPRESSION_ERROR, "headers that cannot be decoded"))?;
        let list = List {
            stream,
            ends,
            depends_on_itself,
            reader,
            fits,
        };
        match self.role {
            Role::Server => self.request(list),
            Role::Client => self.answer(list),
        }
    }

    fn request(&mut self, list: List) -> Received {
        let id = list.stream;
        if id.is_multiple_of(2) {
            return Err(protocol("a request on a stream of the server"));
        }
        if id <= self.last_peer {
            return self.trailer(&list);
        }
        self.last_peer = id;
        if self.is_ignored(id) {
            return Ok(());
        }
        if list.depends_on_itself {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        }
        let most = self.limits.streams;
        if self.streams.open() >= most || self.streams.kept() >= 2 * most as usize {
            return self.break_stream(id, Code::REFUSED_STREAM);
        }
        if !list.fits {
            self.charge_reset()?;
            self.answer_at_once(id, 431);
            return Ok(());
        }
        let Some(head) = list.reader.request() else {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        };
        if !head.is_connect() {
            // It is answered like a CONNECT that is refused, but is work that nobody wants.
            self.charge_reset()?;
        }
        let stream = Stream {
            send_window: i64::from(self.peer.window),
            recv_window: self.stream_window,
            held: true,
            recv_ended: list.ends,
            ..Stream::default()
        };
        self.streams.insert(id, stream);
        self.requests.push_back((id, head));
        Ok(())
    }

    fn answer(&mut self, list: List) -> Received {
        let id = list.stream;
        if id.is_multiple_of(2) || self.is_idle(id) {
            return Err(protocol("an answer to no request"));
        }
        let Some(stream) = self.streams.get(id) else {
            return self.unknown(id);
        };
        if stream.answered || !stream.is_open() {
            return self.trailer(&list);
        }
        if !list.fits {
            return self.break_stream(id, Code::ENHANCE_YOUR_CALM);
        }
        let head = list.reader.answer().filter(|head| {
            // 101 does not exist in HTTP/2, and no answer ends before it is final.
            head.status != Some(101) && !(is_interim(head) && list.ends)
        });
        let Some(head) = head else {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        };
        if is_interim(&head) {
            return self.charge();
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.answered = true;
            stream.answer = Some(Box::new(head));
            stream.recv_ended = list.ends;
            stream.wake_reader();
        }
        self.settle(id);
        Ok(())
    }

    /// Trailers are decoded and looked at by nobody.
    fn trailer(&mut self, list: &List) -> Received {
        let id = list.stream;
        let Some(stream) = self.streams.get_mut(id) else {
            return self.unknown(id);
        };
        match stream.reset {
            Some(Reset::Local(_) | Reset::Unprocessed) => return Ok(()),
            Some(Reset::Peer(_)) => return self.break_stream(id, Code::STREAM_CLOSED),
            None if stream.recv_ended => return self.break_stream(id, Code::STREAM_CLOSED),
            None => {}
        }
        if !list.ends || list.depends_on_itself || !list.reader.is_trailer() {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        }
        stream.recv_ended = true;
        stream.wake_reader();
        self.settle(id);
        Ok(())
    }

    /// Headers on a stream that is no more.
    fn unknown(&self, id: u32) -> Received {
        if self.is_ignored(id) {
            Ok(())
        } else {
            let what = "headers on a stream that has ended";
            Err(Violation(Code::STREAM_CLOSED, what))
        }
    }
}

fn is_interim(head: &Head) -> bool {
    matches!(head.status, Some(100..=199))
}
