//! How many handshakes of clients a core has under way.
//!
//! Invariant: one too many is refused before anything is read of it; those that are under way go on.

use std::cell::Cell;
use std::rc::Rc;

/// Handshakes under way on one core.
#[derive(Debug, Clone, Default)]
pub struct Handshakes(Rc<Cell<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Handshake(Rc<Cell<usize>>);

impl Handshakes {
    /// One more, if there are fewer than so many.
    pub(super) fn begin(&self, most: usize) -> Option<Handshake> {
        let under_way = self.0.get();
        (under_way < most).then(|| {
            self.0.set(under_way + 1);
            Handshake(Rc::clone(&self.0))
        })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let handshakes = Handshakes::default();
        let first = handshakes.begin(2).unwrap();
        let _second = handshakes.begin(2).unwrap();
        assert!(handshakes.begin(2).is_none());
        drop(first);
        assert!(handshakes.begin(2).is_some());
    }
}
