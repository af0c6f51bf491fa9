//! What arrived for a stream and was not read yet.
//!
//! Invariants: large pieces are parts of the buffer they arrived in, small ones are gathered, so that tiny frames cost
//! their bytes and no more; what stays unread pins at most twice its size; an empty queue owns no memory.

use crate::buffer::SIZE;
use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A smaller piece is copied: that costs less than to keep account of it.
const GATHERED: usize = 2048;
/// Gathered pieces grow up to this.
const GATHER: usize = 32 * 1024;

/// A stream's unread bytes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    /// What comes after the chunks.
    tail: Vec<u8>,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// They are a part of the connection's last read buffer.
    shared: bool,
}

impl Queue {
    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a part of the connection's read buffer; whether the buffer is now pinned.
    pub(crate) fn push(&mut self, bytes: Bytes) -> bool {
        self.len += bytes.len();
        if bytes.len() < GATHERED {
            if self.tail.len() + bytes.len() > GATHER {
                self.close_tail();
            }
            self.tail.extend_from_slice(&bytes);
            return false;
        }
        self.close_tail();
        self.chunks.push_back(Chunk {
            bytes,
            shared: true,
        });
        true
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(Chunk {
                bytes: std::mem::take(&mut self.tail).into(),
                shared: false,
            });
        }
    }

    /// The read buffer is about to be replaced: what is left of it and small is copied, so that it does not pin the
    /// whole buffer.
    pub(crate) fn settle(&mut self) {
        let shared = self.chunks.iter().filter(|chunk| chunk.shared);
        let pinned: usize = shared.map(|chunk| chunk.bytes.len()).sum();
        for chunk in &mut self.chunks {
            if std::mem::take(&mut chunk.shared) && pinned < SIZE / 2 {
                chunk.bytes = Bytes::copy_from_slice(&chunk.bytes);
            }
        }
    }

    /// Lends what is in front to `f`, as many pieces as `slices` has room for.
    pub(crate) fn lend<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.close_tail();
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes);
            used += 1;
        }
        used
    }

    /// The first piece.
    pub(crate) fn front(&mut self) -> &[u8] {
        self.close_tail();
        self.chunks.front().map_or(&[], |chunk| &chunk.bytes)
    }

    /// `n` bytes were read.
    pub(crate) fn consume(&mut self, n: usize) {
        self.close_tail();
        let mut left = n.min(self.len);
        self.len -= left;
        while let Some(chunk) = self.chunks.front_mut() {
            if left < chunk.bytes.len() {
                chunk.bytes.advance(left);
                break;
            }
            left -= chunk.bytes.len();
            self.chunks.pop_front();
        }
        if self.len == 0 {
            // An idle stream keeps no memory.
            self.chunks = VecDeque::new();
        }
    }

    /// Forgets everything; how many bytes that was.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(self).len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(queue: &mut Queue) -> Vec<u8> {
        let mut bytes = Vec::new();
        while queue.len() > 0 {
            let front = queue.front().to_vec();
            queue.consume(front.len());
            bytes.extend(front);
        }
        bytes
    }

    #[test]
    fn tiny_pieces_cost_their_bytes() {
        let mut queue = Queue::default();
        for n in 0..100_000u32 {
            assert!(!queue.push(Bytes::copy_from_slice(&[n as u8])));
        }
        assert_eq!(queue.len(), 100_000);
        assert!(queue.chunks.len() <= 4);
        let expected: Vec<_> = (0..100_000u32).map(|n| n as u8).collect();
        assert_eq!(read_all(&mut queue), expected);
        assert_eq!(queue.chunks.capacity() + queue.tail.capacity(), 0);
    }

    #[test]
    fn order_holds_whatever_the_sizes() {
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        for (n, size) in [10, 5000, 20, 2048, 2047, 90_000, 1, 1]
            .into_iter()
            .enumerate()
        {
            let piece = vec![n as u8; size];
            expected.extend_from_slice(&piece);
            queue.push(piece.into());
            if n == 5 {
                queue.settle();
            }
        }
        let mut slices = [IoSlice::new(&[]); 3];
        assert_eq!(queue.lend(&mut slices), 3);
        assert_eq!(read_all(&mut queue), expected);
    }

    #[test]
    fn what_stays_pins_little() {
        let whole = Bytes::from(vec![7; SIZE]);
        let mut queue = Queue::default();
        assert!(queue.push(whole.slice(..3000)));
        assert!(queue.push(whole.slice(3000..9000)));
        queue.consume(1000);
        queue.settle();
        assert!(whole.is_unique(), "the buffer is free");
        assert_eq!(read_all(&mut queue), vec![7; 8000]);
        queue.push(whole.slice(..SIZE / 2));
        queue.settle();
        assert!(!whole.is_unique(), "half of a buffer may stay where it is");
        assert_eq!(queue.clear(), SIZE / 2);
        assert_eq!(queue.len(), 0);
    }
}
