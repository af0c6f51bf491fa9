//! What waits to be written, each object by itself.
//!
//! Invariants: of one object one write is under way at most, and the newest word is the one that is written after it; a
//! write that failed is tried again, later each time, and delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::NsName;

/// After a failure; doubled with each, up to the last.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));

/// What waits.
#[derive(Debug)]
pub(super) struct Queue<W> {
    waiting: BTreeMap<NsName, Entry<W>>,
    due: BTreeSet<(Instant, NsName)>,
    busy: BTreeSet<NsName>,
}

#[derive(Debug)]
struct Entry<W> {
    word: W,
    due: Instant,
    wait: Duration,
}

/// A write that is under way.
#[derive(Clone, Debug)]
pub(super) struct Turn<W> {
    pub(super) name: NsName,
    pub(super) word: W,
    wait: Duration,
}

impl<W> Turn<W> {
    /// Whether it was tried so often that nothing is to be expected of another try soon.
    pub(super) fn is_late(&self) -> bool {
        self.wait >= BACKOFF.1
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            busy: BTreeSet::new(),
        }
    }
}

impl<W: PartialEq> Queue<W> {
    /// To be written at once. What waits already goes on waiting if it is the same.
    pub(super) fn put(&mut self, name: NsName, word: W, now: Instant) {
        if self.waiting.get(&name).is_some_and(|e| e.word == word) {
            return;
        }
        self.wait(name, word, now, BACKOFF.0);
    }

    /// What is not kept need not be written any more.
    pub(super) fn retain(&mut self, keep: impl Fn(&W) -> bool) {
        let due = &mut self.due;
        self.waiting.retain(|name, entry| {
            let keep = keep(&entry.word);
            if !keep {
                due.remove(&(entry.due, name.clone()));
            }
            keep
        });
    }

    /// The next that is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<Turn<W>> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        let Entry { word, wait, .. } = self.waiting.remove(&name)?;
        self.busy.insert(name.clone());
        Some(Turn { name, word, wait })
    }

    /// When something is due.
    pub(super) fn until(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A write has ended. If it failed it is tried again, unless there is a newer word.
    pub(super) fn done(&mut self, turn: Turn<W>, failed: bool, now: Instant) {
        let Turn { name, word, wait } = turn;
        self.busy.remove(&name);
        match self.waiting.remove(&name) {
            Some(newer) => self.wait(name, newer.word, newer.due.max(now), newer.wait),
            None if failed => self.wait(name, word, now + wait, (wait * 2).min(BACKOFF.1)),
            None => {}
        }
    }

    fn wait(&mut self, name: NsName, word: W, due: Instant, wait: Duration) {
        let busy = self.busy.contains(&name);
        let entry = Entry { word, due, wait };
        if let Some(before) = self.waiting.insert(name.clone(), entry) {
            self.due.remove(&(before.due, name.clone()));
        }
        if !busy {
            self.due.insert((due, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NsName {
        NsName::new("d", text)
    }

    #[tokio::test]
    async fn one_at_a_time_and_the_newest_word_last() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put(name("a"), 1, now);
        queue.put(name("a"), 2, now);
        queue.put(name("b"), 9, now);
        let first = queue.next(now).unwrap();
        assert_eq!((first.name.clone(), first.word), (name("a"), 2));
        queue.put(name("a"), 3, now);
        let other = queue.next(now).unwrap();
        assert_eq!(other.name, name("b"));
        // The third word waits for the second to be written, even if that fails.
        assert!(queue.next(now).is_none() && queue.until().is_none());
        queue.done(first, true, now);
        let last = queue.next(now).unwrap();
        assert_eq!(last.word, 3);
        queue.done(last, false, now);
        queue.done(other, false, now);
        assert!(queue.until().is_none());
    }

    #[tokio::test]
    async fn what_fails_is_tried_later_each_time_and_is_not_lost() {
        let mut now = Instant::now();
        let mut queue = Queue::default();
        queue.put(name("a"), 1, now);
        let mut before = Duration::ZERO;
        for _ in 0..10 {
            let turn = queue.next(now).unwrap();
            queue.done(turn, true, now);
            let pause = queue.until().unwrap() - now;
            assert!(pause >= before && pause <= BACKOFF.1);
            // Saying it again does not hurry it, and another object does not wait for it.
            queue.put(name("a"), 1, now);
            assert_eq!(queue.until().unwrap() - now, pause);
            queue.put(name("b"), 1, now);
            let other = queue.next(now).unwrap();
            assert_eq!(other.name, name("b"));
            queue.done(other, false, now);
            before = pause;
            now = queue.until().unwrap();
        }
        assert_eq!(before, BACKOFF.1);
        queue.retain(|_| false);
        assert!(queue.until().is_none());
    }
}
