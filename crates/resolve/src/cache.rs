//! What is known of names, and which of them are being asked for.
//!
//! Invariant: time is told from outside, so that what is good for how long is in a table of the tests.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::query::Failure;
use crate::{Addresses, Found, STALE, Told, Unresolved};

/// Names that are known. Whoever made a name known may be forgotten for one that is asked for now.
const NAMES: usize = 4096;
/// An answer is used for so long at least, and at most.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long it is believed that a name has no address.
const NO_ADDRESS: Duration = Duration::from_secs(5);
/// How long resolvers that did not answer are left alone.
const FAILED: Duration = Duration::from_secs(1);

type Coming = watch::Receiver<Option<Told>>;

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Box<str>, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The last addresses, and until when they are good.
    good: Option<(Addresses, Instant)>,
    /// Why there are no better ones, and until when nobody asks again.
    bad: Option<(Unresolved, Instant)>,
    coming: Option<Coming>,
}

/// What is known of a name.
#[derive(Debug)]
pub(crate) enum Known {
    /// This.
    Answer(Told),
    /// It is being asked for.
    Coming(Coming),
    /// It is to be asked for. What there is if nobody can.
    Nothing(Option<Addresses>),
}

impl Entry {
    /// The last addresses, while they may still be used.
    fn stale(&self, now: Instant) -> Option<&Addresses> {
        let (addresses, until) = self.good.as_ref()?;
        (now < *until + STALE).then_some(addresses)
    }

    /// Whether nothing of it is of use.
    fn is_over(&self, now: Instant) -> bool {
        let quiet = self.bad.is_none_or(|(_, until)| until <= now);
        self.coming.is_none() && quiet && self.stale(now).is_none()
    }
}

impl Cache {
    pub(crate) fn look(&self, name: &str, now: Instant) -> Known {
        let names = self.lock();
        let Some(entry) = names.get(name) else {
            return Known::Nothing(None);
        };
        if let Some((addresses, _)) = entry.good.as_ref().filter(|(_, until)| now < *until) {
            return Known::Answer(Ok(addresses.clone()));
        }
        let stale = entry.stale(now).cloned();
        if let Some((unresolved, _)) = entry.bad.filter(|(_, until)| now < *until) {
            return Known::Answer(stale.ok_or(unresolved));
        }
        match &entry.coming {
            // Whoever asked may have been cut short without an answer.
            Some(coming) if coming.has_changed().is_ok() => Known::Coming(coming.clone()),
            _ => Known::Nothing(stale),
        }
    }

    /// The name is asked for from now on, unless somebody was faster, whose answer is given back.
    pub(crate) fn begin(&self, name: &str, coming: &Coming) -> Option<Coming> {
        let mut names = self.lock();
        if names.len() >= NAMES && !names.contains_key(name) {
            let now = Instant::now();
            names.retain(|_, entry| !entry.is_over(now));
            let expendable = |entry: &Entry| entry.coming.is_none();
            let first = names.iter().find(|(_, entry)| expendable(entry));
            let first = first.map(|(name, _)| name.clone());
            if let Some(first) = first.filter(|_| names.len() >= NAMES) {
                names.remove(&first);
            }
        }
        let entry = names.entry(name.into()).or_default();
        if let Some(earlier) = entry.coming.as_ref().filter(|c| c.has_changed().is_ok()) {
            return Some(earlier.clone());
        }
        entry.coming = Some(coming.clone());
        None
    }

    /// What came of it, and what those who wait are told.
    pub(crate) fn end(&self, name: &str, found: Result<Found, Failure>, now: Instant) -> Told {
        let mut names = self.lock();
        let entry = names.entry(name.into()).or_default();
        entry.coming = None;
        match found {
            Ok(Found { addresses, ttl }) => {
                entry.good = Some((addresses.clone(), now + ttl.clamp(TTL.0, TTL.1)));
                entry.bad = None;
                Ok(addresses)
            }
            Err(Failure::NoAddress) => {
                // Whoever can say so is believed: what was good before is not any more.
                entry.good = None;
                entry.bad = Some((Unresolved::NoAddress, now + NO_ADDRESS));
                Err(Unresolved::NoAddress)
            }
            Err(Failure::Failed) => {
                entry.bad = Some((Unresolved::Failed, now + FAILED));
                let stale = entry.stale(now).cloned();
                stale.ok_or(Unresolved::Failed)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ip: &str, ttl: u64) -> Result<Found, Failure> {
        Ok(Found {
            addresses: [ip.parse().unwrap()].into(),
            ttl: Duration::from_secs(ttl),
        })
    }

    /// What is known of the name: an address, or why there is none, or `?` where it would be asked for.
    fn look(cache: &Cache, now: Instant) -> String {
        match cache.look("a.example", now) {
            Known::Answer(Ok(addresses)) => addresses[0].to_string(),
            Known::Answer(Err(unresolved)) => unresolved.to_string(),
            Known::Coming(_) => "coming".into(),
            Known::Nothing(stale) => {
                format!("?{}", stale.map_or(String::new(), |ips| ips[0].to_string()))
            }
        }
    }

    #[test]
    fn an_answer_is_good_for_its_ttl_and_then_only_for_want_of_a_better_one() {
        let (cache, start) = (Cache::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(look(&cache, start), "?");
        assert!(
            cache
                .end("a.example", found("192.0.2.1", 30), start)
                .is_ok()
        );
        assert_eq!(look(&cache, at(29)), "192.0.2.1");
        assert_eq!(look(&cache, at(30)), "?192.0.2.1");
        // Nobody can say: the old one goes on, and is not asked for at once.
        let told = cache.end("a.example", Err(Failure::Failed), at(30));
        assert_eq!(told.unwrap()[0].to_string(), "192.0.2.1");
        assert_eq!(look(&cache, at(30)), "192.0.2.1");
        assert_eq!(look(&cache, at(31)), "?192.0.2.1");
        assert_eq!(look(&cache, at(30 + 600)), "?");
        let told = cache.end("a.example", Err(Failure::Failed), at(640));
        assert_eq!(told, Err(Unresolved::Failed));
        assert_eq!(look(&cache, at(640)), "no resolver could answer");
    }

    #[test]
    fn that_a_name_has_no_address_is_believed_at_once_and_not_for_long() {
        let (cache, start) = (Cache::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        drop(cache.end("a.example", found("192.0.2.1", 0), start));
        assert_eq!(
            look(&cache, start),
            "192.0.2.1",
            "used for a moment at least"
        );
        drop(cache.end("a.example", Err(Failure::NoAddress), at(1)));
        assert_eq!(look(&cache, at(5)), "has no address");
        assert_eq!(look(&cache, at(6)), "?");
    }

    #[test]
    fn a_name_is_asked_for_once_at_a_time() {
        let cache = Cache::default();
        let now = Instant::now();
        let (teller, coming) = watch::channel(None);
        assert!(cache.begin("a.example", &coming).is_none());
        assert_eq!(look(&cache, now), "coming");
        let (_other, second) = watch::channel(None);
        assert!(cache.begin("a.example", &second).is_some());
        // Who asked is gone without an answer: the next one asks anew.
        drop(teller);
        assert!(cache.begin("a.example", &second).is_none());
    }

    #[test]
    fn names_are_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        for n in 0..NAMES + 10 {
            let (_teller, coming) = watch::channel(None);
            let name = format!("n{n}.example");
            assert!(cache.begin(&name, &coming).is_none());
            drop(cache.end(&name, found("192.0.2.1", 60), now));
        }
        assert_eq!(cache.lock().len(), NAMES);
    }
}
