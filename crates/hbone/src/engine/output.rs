//! What is to be sent: frames one behind the other, so that TLS gets full records and the socket large writes.
//!
//! Invariants: bytes leave in the order in which they came; an application's bytes are read straight behind the room for
//! their frame's header; without bytes there is no buffer.

use super::frame::{HEADER, Head, flag, kind};
use crate::buffer::{Buffer, SIZE};
use std::collections::VecDeque;

/// The frame at the end, as long as it can still grow.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// Where its header is in the last buffer.
    at: usize,
    stream: u32,
    length: usize,
}

/// Frames to be sent.
#[derive(Debug, Default)]
pub(crate) struct Output {
    buffers: VecDeque<Buffer>,
    len: usize,
    /// Bytes that are not DATA: at least as many as are still here.
    owed: usize,
    tail: Option<Tail>,
}

impl Output {
    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes in it that are not DATA, at most.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }

    /// What is to be sent next.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.buffers.front().map(Buffer::filled)
    }

    /// The first `n` bytes were sent.
    pub(crate) fn consume(&mut self, n: usize) {
        let Some(front) = self.buffers.front_mut() else {
            return;
        };
        let n = n.min(front.filled().len());
        front.consume(n);
        self.len -= n;
        if front.filled().is_empty() {
            self.buffers.pop_front();
        }
        self.owed = self.owed.min(self.len);
        if self.buffers.is_empty() {
            self.tail = None;
        } else if self.buffers.len() == 1 {
            let sent = self.buffers.back().map_or(0, Buffer::start);
            self.tail = self.tail.filter(|tail| tail.at >= sent);
        }
    }

    /// Adds bytes that are not DATA.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.tail = None;
        self.owed += bytes.len();
        self.append(bytes);
    }

    fn append(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let n = match self.buffers.back_mut() {
                Some(buffer) => buffer.put(bytes),
                None => 0,
            };
            bytes = bytes.get(n..).unwrap_or_default();
            if !bytes.is_empty() {
                self.buffers.push_back(Buffer::take());
            }
        }
    }

    /// Adds a frame that is not DATA.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let head = Head {
            length: payload.len() as u32,
            kind,
            flags,
            stream,
        };
        self.put(&head.bytes());
        self.put(payload);
    }

    /// Whether more bytes of a stream would go into a frame that is there.
    pub(crate) fn grows(&self, stream: u32) -> bool {
        self.tail.is_some_and(|tail| tail.stream == stream)
    }

    /// Room for at most `want` bytes of DATA of `stream`, in frames of at most `frame` bytes: the end of the stream's
    /// frame that is last anyway, or behind a header of its own. What was written there counts after [`Self::wrote`].
    pub(crate) fn room(
        &mut self,
        stream: u32,
        want: usize,
        frame: usize,
        least: usize,
    ) -> &mut [u8] {
        let grows = self
            .tail
            .is_some_and(|tail| tail.stream == stream && tail.length + least <= frame);
        let header = if grows { 0 } else { HEADER };
        let fits = |buffer: &Buffer| buffer.room() >= header + least.min(want);
        if !self.buffers.back().is_some_and(fits) {
            self.buffers.push_back(Buffer::take());
            self.tail = None;
        } else if !grows {
            self.tail = None;
        }
        let (start, length) = match self.tail {
            Some(tail) => (0, tail.length),
            None => (HEADER, 0),
        };
        let want = want.min(frame.saturating_sub(length));
        let spare = self.buffers.back_mut().map(Buffer::spare);
        let spare = spare.unwrap_or_default();
        let end = (start + want).min(spare.len());
        spare.get_mut(start..end).unwrap_or_default()
    }

    /// `n` bytes were written to where [`Self::room`] said.
    pub(crate) fn wrote(&mut self, stream: u32, n: usize) {
        let Some(buffer) = self.buffers.back_mut() else {
            return;
        };
        if n == 0 {
            if buffer.filled().is_empty() {
                self.buffers.pop_back();
                self.tail = None;
            }
            return;
        }
        let tail = match &mut self.tail {
            Some(tail) => {
                tail.length += n;
                buffer.advance(n);
                self.len += n;
                *tail
            }
            None => {
                let tail = Tail {
                    at: buffer.end(),
                    stream,
                    length: n,
                };
                buffer.advance(HEADER + n);
                self.len += HEADER + n;
                tail
            }
        };
        self.tail = Some(tail);
        self.write_head(tail, 0);
    }

    fn write_head(&mut self, tail: Tail, flags: u8) {
        let head = Head {
            length: tail.length as u32,
            kind: kind::DATA,
            flags,
            stream: tail.stream,
        };
        if let Some(buffer) = self.buffers.back_mut() {
            buffer.overwrite(tail.at, &head.bytes());
        }
    }

    /// Ends a stream, with its last frame if that is last anyway.
    pub(crate) fn end(&mut self, stream: u32) {
        match self.tail.take() {
            Some(tail) if tail.stream == stream => self.write_head(tail, flag::END_STREAM),
            _ => self.frame(kind::DATA, flag::END_STREAM, stream, &[]),
        }
    }

    /// The socket takes no more for now: little that waits does not keep a large buffer.
    pub(crate) fn settle(&mut self) {
        if let Some(buffer) = self.buffers.back_mut()
            && buffer.filled().len() < SIZE / 8
        {
            self.tail = None;
            buffer.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(output: &mut Output, piece: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(front) = output.front() {
            let n = front.len().min(piece);
            bytes.extend_from_slice(&front[..n]);
            output.consume(n);
        }
        assert_eq!(output.len(), 0);
        bytes
    }

    fn data(output: &mut Output, stream: u32, bytes: &[u8], frame: usize) -> usize {
        let room = output.room(stream, bytes.len(), frame, 1);
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        output.wrote(stream, n);
        n
    }

    #[test]
    fn small_writes_of_a_stream_become_one_frame() {
        let mut output = Output::default();
        for _ in 0..100 {
            assert_eq!(data(&mut output, 1, b"0123456789", 16_384), 10);
        }
        assert_eq!(output.len(), HEADER + 1000);
        data(&mut output, 3, b"x", 16_384);
        data(&mut output, 1, b"y", 16_384);
        output.end(1);
        output.end(3);
        let bytes = all(&mut output, 7);
        assert_eq!(bytes[..9], [0, 3, 232, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[1009..1019], *b"\0\0\x01\0\0\0\0\0\x03x");
        assert_eq!(bytes[1019..1029], *b"\0\0\x01\0\x01\0\0\0\x01y");
        assert_eq!(bytes[1029..], *b"\0\0\0\0\x01\0\0\0\x03");
    }

    #[test]
    fn a_frame_that_is_partly_sent_grows_no_more() {
        let mut output = Output::default();
        data(&mut output, 1, b"abc", 16_384);
        output.consume(1);
        data(&mut output, 1, b"def", 16_384);
        assert_eq!(output.len(), 8 + 3 + 9 + 3);
        output.end(1);
        assert_eq!(output.len(), 8 + 3 + 9 + 3, "the end is a flag");
    }

    #[test]
    fn frames_have_at_most_the_size_they_may_have() {
        let mut output = Output::default();
        assert_eq!(data(&mut output, 1, &[1; 100], 64), 64);
        assert_eq!(data(&mut output, 1, &[1; 36], 64), 36);
        assert_eq!(data(&mut output, 1, &[1; 100], 64), 28);
        assert_eq!(all(&mut output, 1000).len(), 2 * (9 + 64));
    }

    #[test]
    fn more_than_a_buffer_is_kept_in_order() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for n in 0..50_000u32 {
            output.put(&n.to_be_bytes());
            expected.extend(n.to_be_bytes());
        }
        assert_eq!(output.owed(), 200_000);
        assert_eq!(all(&mut output, 3333), expected);
        assert_eq!(output.owed(), 0);
        assert!(output.buffers.is_empty());
    }

    #[test]
    fn an_unused_room_leaves_nothing() {
        let mut output = Output::default();
        assert_eq!(output.room(1, 100, 16_384, 1).len(), 100);
        output.wrote(1, 0);
        assert!(output.buffers.is_empty());
        data(&mut output, 1, b"abc", 16_384);
        output.settle();
        data(&mut output, 1, b"def", 16_384);
        assert_eq!(
            all(&mut output, 1000),
            *b"\0\0\x03\0\0\0\0\0\x01abc\0\0\x03\0\0\0\0\0\x01def"
        );
    }
}
