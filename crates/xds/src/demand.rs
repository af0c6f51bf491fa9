//! What a client asks for that takes only what it needs: names, each asked for once and answered by the server.
//!
//! Invariants: a name counts as answered only after the server has said what it is or that there is nothing of that
//! name, which is then in force already or a moment later; names that nobody used for a while are given back; there is a
//! bound on how many there are. Once the server has said all that there is, every name counts as answered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// So many names at most; beyond them a new one is not asked for.
const MAX_NAMES: usize = 20_000;

/// The names that are asked for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Mutex<Names>,
    news: Notify,
    /// All is in force that there is.
    whole: AtomicBool,
}

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Arc<str>, Name>,
    /// Not sent yet.
    unsent: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Name {
    answered: bool,
    used: Instant,
}

impl Demand {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing ever: all there is is known by other means.
    #[must_use]
    pub fn whole() -> Self {
        let all = Self::default();
        all.complete();
        all
    }

    /// Uses a name, and asks for it if it is new. Whether the server has said what there is of it.
    #[must_use]
    pub fn want(&self, name: &str) -> bool {
        if self.is_whole() {
            return true;
        }
        let mut names = self.lock();
        if let Some(known) = names.known.get_mut(name) {
            known.used = Instant::now();
            return known.answered;
        }
        if names.known.len() >= MAX_NAMES {
            tracing::warn!(name, "too many names are in use to ask for one more");
            return false;
        }
        let name: Arc<str> = name.into();
        let new = Name {
            answered: false,
            used: Instant::now(),
        };
        names.known.insert(name.clone(), new);
        names.unsent.push(name);
        drop(names);
        self.0.news.notify_one();
        false
    }

    /// Whether the server has said what there is of a name.
    #[must_use]
    pub fn is_answered(&self, name: &str) -> bool {
        let answered = |names: &Names| names.known.get(name).is_some_and(|name| name.answered);
        self.is_whole() || answered(&self.lock())
    }

    /// Whether the server has said all that there is, so that nothing has to be asked for any more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.whole.load(Ordering::Acquire)
    }

    /// How many names are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for names that were not sent.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// The names that were not sent.
    pub(crate) fn take_unsent(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.lock().unsent)
    }

    /// All names; none is unsent then.
    pub(crate) fn take_all(&self) -> Vec<Arc<str>> {
        let mut names = self.lock();
        names.unsent.clear();
        names.known.keys().cloned().collect()
    }

    /// Gives back what nobody used for so long.
    pub(crate) fn take_idle(&self, idle: Duration) -> Vec<Arc<str>> {
        let mut names = self.lock();
        let mut given_back = Vec::new();
        names.known.retain(|name, known| {
            let keep = !known.answered || known.used.elapsed() < idle;
            if !keep {
                given_back.push(name.clone());
            }
            keep
        });
        given_back
    }

    /// The server has said what there is of these.
    pub(crate) fn answer<'a>(&self, answered: impl Iterator<Item = &'a str>) {
        let mut names = self.lock();
        for name in answered {
            if let Some(known) = names.known.get_mut(name) {
                known.answered = true;
            }
        }
    }

    /// The server has said all that there is, and it is in force. Names that wait for their answer still get it: who
    /// asked for them is told by that.
    pub(crate) fn complete(&self) {
        self.0.whole.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_known_when_it_is_answered() {
        let demand = Demand::new();
        assert!(!demand.want("/10.0.0.1") && !demand.want("/10.0.0.1"));
        assert_eq!(demand.take_unsent(), ["/10.0.0.1".into()]);
        assert!(demand.take_unsent().is_empty());
        demand.answer(["/10.0.0.1", "/10.0.0.2"].into_iter());
        assert!(demand.want("/10.0.0.1") && demand.is_answered("/10.0.0.1"));
        assert!(!demand.is_answered("/10.0.0.2"));
        assert_eq!(demand.len(), 1);
    }

    #[test]
    fn what_is_not_used_is_given_back_unless_it_is_waited_for() {
        let demand = Demand::new();
        assert!(!demand.want("a") && !demand.want("b"));
        demand.answer(["a"].into_iter());
        assert!(demand.take_idle(Duration::from_secs(60)).is_empty());
        assert_eq!(demand.take_idle(Duration::ZERO), ["a".into()]);
        assert_eq!(demand.take_all(), ["b".into()]);
        assert!(!demand.want("a"));
        assert_eq!(demand.len(), 2);
    }

    #[test]
    fn when_all_is_known_nothing_is_asked_for() {
        let demand = Demand::new();
        assert!(!demand.want("a"));
        demand.complete();
        assert!(demand.is_whole() && demand.want("b") && demand.is_answered("c"));
        assert_eq!(demand.take_unsent(), ["a".into()], "somebody waits for it");
    }

    #[test]
    fn there_is_a_bound() {
        let demand = Demand::new();
        for n in 0..=MAX_NAMES {
            let _ = demand.want(&n.to_string());
        }
        assert_eq!(demand.len(), MAX_NAMES);
    }
}
