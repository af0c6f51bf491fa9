//! Large buffers that are held only while there are bytes in them.
//!
//! Invariant: a dropped buffer goes back to its thread's list, which keeps few; an idle connection owns none.

use std::cell::RefCell;

/// Size of a buffer: 128 KiB cost few system calls for bulk, and two of them stay in a second-level cache.
pub(crate) const SIZE: usize = 128 * 1024;
/// Buffers that a thread keeps for later.
const KEPT: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer whose bytes `start..end` are in use.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer.
    pub(crate) fn take() -> Self {
        let memory = FREE
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        Self {
            memory,
            start: 0,
            end: 0,
        }
    }

    /// The bytes in it.
    pub(crate) fn filled(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// Bytes that still fit in.
    pub(crate) fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// Where to write next. What was written there counts after [`Self::advance`].
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` more bytes have been written.
    pub(crate) fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.memory.len());
    }

    /// Copies as much of `bytes` in as fits.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        if let (Some(to), Some(from)) = (self.spare().get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
        self.advance(n);
        n
    }

    /// Where its bytes begin, from the start of the memory.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Where its bytes end.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Replaces bytes from `at` on, which is counted from the start of the memory.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.memory.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    /// Moves the bytes to memory of their size. Nothing more fits in.
    pub(crate) fn shrink(&mut self) {
        if self.memory.len() == SIZE {
            let bytes: Box<[u8]> = self.filled().into();
            (self.start, self.end) = (0, bytes.len());
            give_back(std::mem::replace(&mut self.memory, bytes));
        }
    }

    /// The first `n` bytes are done with.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.memory));
    }
}

fn give_back(memory: Box<[u8]>) {
    if memory.len() != SIZE {
        return;
    }
    // A thread that ends has no list any more; then the memory is freed.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT {
            free.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_few_is_kept() {
        let buffers: Vec<_> = (0..KEPT * 2).map(|_| Buffer::take()).collect();
        drop(buffers);
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
        let _one = Buffer::take();
        assert_eq!(FREE.with_borrow(Vec::len), KEPT - 1);
    }

    #[test]
    fn little_is_moved_to_little_memory() {
        let mut buffer = Buffer::take();
        buffer.put(b"hello");
        buffer.consume(1);
        buffer.shrink();
        assert_eq!((buffer.filled(), buffer.memory.len()), (&b"ello"[..], 4));
        let kept = FREE.with_borrow(Vec::len);
        drop(buffer);
        assert_eq!(FREE.with_borrow(Vec::len), kept);
    }

    #[test]
    fn bytes_go_in_and_out_in_order() {
        let mut buffer = Buffer::take();
        assert_eq!(buffer.put(b"hello"), 5);
        buffer.consume(2);
        assert_eq!(buffer.filled(), b"llo");
        buffer.consume(3);
        assert_eq!(buffer.room(), SIZE);
        assert_eq!(buffer.put(&vec![7; SIZE + 1]), SIZE);
        assert_eq!(buffer.put(b"x"), 0);
    }
}
