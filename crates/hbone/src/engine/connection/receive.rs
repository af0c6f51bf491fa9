//! What arrives: each piece goes where it belongs.
//!
//! Invariants: the peer's first frame is SETTINGS; between the frames of a header block there is nothing else.

use super::super::frame::{Code, Head, flag, kind};
use super::super::parser::Piece;
use super::super::stream::Reset;
use super::super::{Failure, Violation};
use super::{Connection, Role};
use bytes::Bytes;
use std::time::Duration;

/// A shorthand of this module's children.
pub(super) type Received = Result<(), Violation>;

pub(super) fn protocol(what: &'static str) -> Violation {
    Violation(Code::PROTOCOL_ERROR, what)
}

impl Connection {
    /// Takes what arrived at `now`, counted from the connection's start. An error is the connection's end; what is to be
    /// sent then tells the peer.
    pub(crate) fn receive(&mut self, mut input: Bytes, now: Duration) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.now = now;
        for id in std::mem::take(&mut self.pinned) {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.queue.settle();
            }
        }
        loop {
            let next = match self.parser.next(&mut input) {
                Ok(None) => break,
                Ok(Some(piece)) => self.piece(piece),
                Err(violation) => Err(violation),
            };
            next.map_err(|violation| self.violate(violation))?;
        }
        if self.out.owed() > self.limits.backlog {
            let calm = Violation(
                Code::ENHANCE_YOUR_CALM,
                "much, and does not read the answers",
            );
            return Err(self.violate(calm));
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Received {
        match piece {
            Piece::Preface => Ok(()),
            Piece::Frame(head, payload) => {
                self.order(head)?;
                self.frame(head, payload)
            }
            Piece::Data(head) => {
                self.order(head)?;
                self.data_begins(head)
            }
            Piece::Part(bytes) => {
                self.data_part(bytes);
                Ok(())
            }
            Piece::DataEnd(padding) => self.data_ends(padding),
        }
    }

    /// Whether this frame may come now.
    fn order(&mut self, head: Head) -> Received {
        if !self.peer.spoke && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(protocol("no SETTINGS first"));
        }
        match &self.block {
            Some(block) if head.kind != kind::CONTINUATION || head.stream != block.stream => {
                Err(protocol("another frame within a header block"))
            }
            None if head.kind == kind::CONTINUATION => Err(protocol("CONTINUATION of nothing")),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, head: Head, payload: Bytes) -> Received {
        let of_connection = matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        let of_stream = matches!(
            head.kind,
            kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION
        );
        if of_connection && head.stream != 0 || of_stream && head.stream == 0 {
            return Err(protocol("a frame on a stream that it cannot be on"));
        }
        match head.kind {
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, &payload),
            kind::PRIORITY => self.priority(head, &payload),
            kind::RST_STREAM => self.peer_resets(head.stream, &payload),
            kind::SETTINGS => self.settings(head, &payload),
            kind::PING => self.ping_arrives(head, &payload),
            kind::GOAWAY => self.peer_goes(&payload),
            kind::WINDOW_UPDATE => self.window_update(head.stream, &payload),
            kind::PUSH_PROMISE => Err(protocol("PUSH_PROMISE")),
            _ => self.charge(),
        }
    }

    /// A frame that moves nothing.
    pub(super) fn charge(&mut self) -> Received {
        if self.frames.pay(self.now) {
            Ok(())
        } else {
            let what = "too many frames that move nothing";
            Err(Violation(Code::ENHANCE_YOUR_CALM, what))
        }
    }

    /// A stream came to nothing by the peer's doing.
    pub(super) fn charge_reset(&mut self) -> Received {
        if self.resets.pay(self.now) {
            Ok(())
        } else {
            let what = "too many streams that came to nothing";
            Err(Violation(Code::ENHANCE_YOUR_CALM, what))
        }
    }

    /// Whether nobody has opened this stream yet.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        if self.is_ours(id) {
            id >= self.next_local
        } else {
            id > self.last_peer
        }
    }

    fn is_ours(&self, id: u32) -> bool {
        (id % 2 == 1) == (self.role == Role::Client)
    }

    /// Whether frames on a stream that is no more may come because the peer does not know yet that it is no more.
    pub(super) fn is_ignored(&self, id: u32) -> bool {
        let unserved = self.going.sent.is_some_and(|last| id > last) && !self.is_ours(id);
        unserved || self.remembered.contains(&id)
    }

    /// The peer broke a stream.
    pub(super) fn break_stream(&mut self, id: u32, code: Code) -> Received {
        self.charge_reset()?;
        match self.streams.get_mut(id) {
            Some(stream) if stream.is_open() => self.reset(id, code),
            _ => self.put_reset(id, code),
        }
        Ok(())
    }

    fn peer_resets(&mut self, id: u32, payload: &[u8]) -> Received {
        let code = Code(super::super::frame::number(payload, 0));
        let Some(stream) = self.streams.get_mut(id).filter(|s| s.is_open()) else {
            if self.is_idle(id) {
                return Err(protocol("RST_STREAM of a stream that nobody opened"));
            }
            return self.charge();
        };
        let wasted = !stream.answered;
        stream.reset = Some(Reset::Peer(code));
        stream.wake();
        self.settle(id);
        if self.role == Role::Server && wasted {
            self.charge_reset()?;
        }
        Ok(())
    }
}
