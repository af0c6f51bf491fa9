//! What the API server said of tokens lately.
//!
//! Invariants: tokens themselves are not kept, but their hashes; no answer counts for longer than a moment, nor past the
//! token's own end; the number of answers is bounded, whoever asks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Denial;
use crate::engine::Client;

/// How long an answer counts.
const GOOD: Duration = Duration::from_secs(60);
const REFUSED: Duration = Duration::from_secs(5);
/// Answers that are kept.
const MOST: usize = 8192;

type Hash = [u8; 32];
type Answer = Result<Client, Denial>;

/// Answers by the hash of the token.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<Hash, (Answer, Instant)>>);

impl Cache {
    pub(super) fn get(&self, token: &str, now: Instant) -> Option<Answer> {
        let answers = self.lock();
        let (answer, until) = answers.get(&boring::sha::sha256(token.as_bytes()))?;
        (now < *until).then(|| answer.clone())
    }

    /// Keep an answer. `ends` is when the token does, in seconds since 1970.
    pub(super) fn put(&self, token: &str, answer: &Answer, ends: Option<u64>, now: Instant) {
        let lasts = match answer {
            Ok(_) => ends.map_or(Duration::ZERO, |ends| GOOD.min(until(ends))),
            Err(Denial::Refused(_)) => REFUSED,
            Err(Denial::Unknown(_)) => return,
        };
        let mut answers = self.lock();
        if answers.len() >= MOST {
            answers.retain(|_, (_, until)| now < *until);
        }
        if answers.len() < MOST {
            let hash = boring::sha::sha256(token.as_bytes());
            answers.insert(hash, (answer.clone(), now + lasts));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, (Answer, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(seconds: u64) -> Duration {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_secs()
    }

    #[test]
    fn answers_do_not_outlive_a_moment_nor_their_token() {
        let cache = Cache::default();
        let start = Instant::now();
        let node = || Ok(Client::Node("n1".into()));
        cache.put("long", &node(), Some(now() + 3600), start);
        cache.put("short", &node(), Some(now() + 10), start);
        cache.put("over", &node(), Some(now() - 1), start);
        cache.put("endless", &node(), None, start);
        cache.put("bad", &Err("no".into()), None, start);
        cache.put("later", &Err(Denial::Unknown("away".into())), None, start);
        assert_eq!(cache.get("long", start), Some(node()));
        assert_eq!(cache.get("short", start), Some(node()));
        assert_eq!(cache.get("bad", start), Some(Err("no".into())));
        for token in ["over", "endless", "later", "other"] {
            assert_eq!(cache.get(token, start), None, "{token}");
        }
        assert_eq!(cache.get("short", start + Duration::from_secs(11)), None);
        assert_eq!(cache.get("bad", start + Duration::from_secs(11)), None);
        assert_eq!(
            cache.get("long", start + Duration::from_secs(11)),
            Some(node())
        );
        assert_eq!(
            cache.get("long", start + Duration::from_secs(11) + GOOD),
            None
        );
    }

    #[test]
    fn is_bounded() {
        let (cache, start) = (Cache::default(), Instant::now());
        for i in 0..MOST + 10 {
            cache.put(&i.to_string(), &Err("no".into()), None, start);
        }
        assert_eq!(cache.lock().len(), MOST);
    }
}
