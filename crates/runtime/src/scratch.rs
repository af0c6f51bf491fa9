//! One read buffer for each thread, so that a connection owns memory only while it has bytes that its
//! peer cannot take yet.

use std::cell::RefCell;

/// Size of the buffer: large enough that a bulk transfer costs few system calls, small enough to stay in
/// the second-level cache.
pub const SIZE: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Option<Box<[u8]>>> = const { RefCell::new(None) };
}

/// Run `f` with this thread's buffer. Its content is whatever the last user left. A nested call gets a
/// buffer of its own.
pub fn with<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER
        .take()
        .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
    let result = f(&mut buffer);
    BUFFER.replace(Some(buffer));
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_same_memory_is_used_again_and_nesting_is_safe() {
        let first = super::with(|buffer| buffer.as_ptr() as usize);
        let again = super::with(|buffer| {
            assert_eq!(buffer.len(), super::SIZE);
            let nested = super::with(|inner| inner.as_ptr() as usize);
            assert_ne!(nested, buffer.as_ptr() as usize);
            buffer.as_ptr() as usize
        });
        assert_eq!(first, again);
    }
}
