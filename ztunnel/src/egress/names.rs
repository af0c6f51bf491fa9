//! Which addresses are known to be a name's.
//!
//! Invariants: an address is a name's for as long as the answer that said so, and a while longer, since clients keep what
//! they have resolved; the table has so many names and addresses at most, whoever asks for how many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Found;

/// How much longer than its answer an address is a name's: clients dial addresses that they have resolved minutes ago.
const GRACE: Duration = Duration::from_secs(5 * 60);
/// The longest that an answer is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// After so long a name is looked up again because of an address that it does not have.
const AGAIN: Duration = Duration::from_secs(2);
/// Names that are known at once.
const NAMES: usize = 4096;
/// Addresses of one name that are known at once: some services answer with other ones of hundreds each time.
const ADDRESSES: usize = 256;

/// The names that are known.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<Box<str>, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Each with its end.
    addresses: Vec<(IpAddr, Instant)>,
    /// When it was last looked up, for IPv4 and for IPv6.
    asked: [Option<Instant>; 2],
}

/// Whether an address is a name's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    /// It was looked up just now.
    No,
    /// It has to be looked up.
    Unknown,
}

impl Names {
    /// Whether `ip` is an address of `name`.
    pub(super) fn look(&self, name: &str, ip: IpAddr, now: Instant) -> Holds {
        let table = self.lock();
        let Some(known) = table.get(name) else {
            return Holds::Unknown;
        };
        if known
            .addresses
            .iter()
            .any(|(own, end)| *own == ip && *end > now)
        {
            return Holds::Yes;
        }
        let [v4, v6] = known.asked;
        let asked = if ip.is_ipv4() { v4 } else { v6 };
        match asked {
            Some(asked) if now.saturating_duration_since(asked) < AGAIN => Holds::No,
            _ => Holds::Unknown,
        }
    }

    /// It was looked up now.
    pub(super) fn asked(&self, name: &str, v4: bool, now: Instant) {
        let mut table = self.lock();
        let [of_v4, of_v6] = &mut entry(&mut table, name, now).asked;
        *(if v4 { of_v4 } else { of_v6 }) = Some(now);
    }

    /// These are addresses of `name` now, beside those that are known.
    pub(super) fn learn(&self, name: &str, found: &Found, now: Instant) {
        if found.addresses.is_empty() {
            return;
        }
        let end = now + found.ttl.min(LONGEST) + GRACE;
        let mut table = self.lock();
        let addresses = &mut entry(&mut table, name, now).addresses;
        addresses.retain(|(_, end)| *end > now);
        for ip in &found.addresses {
            match addresses.iter_mut().find(|(own, _)| own == ip) {
                Some((_, known)) => *known = end.max(*known),
                None => addresses.push((*ip, end)),
            }
        }
        if addresses.len() > ADDRESSES {
            // Those that end first go first.
            addresses.sort_unstable_by_key(|(_, end)| std::cmp::Reverse(*end));
            addresses.truncate(ADDRESSES);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// When nothing of it counts any more.
    fn end(&self) -> Option<Instant> {
        let asked = self.asked.iter().flatten().map(|asked| *asked + AGAIN);
        let ends = self.addresses.iter().map(|(_, end)| *end);
        ends.chain(asked).max()
    }
}

/// What is known of a name, with room made for it.
fn entry<'a>(table: &'a mut HashMap<Box<str>, Known>, name: &str, now: Instant) -> &'a mut Known {
    if table.len() >= NAMES && !table.contains_key(name) {
        table.retain(|_, known| known.end() > Some(now));
        if table.len() >= NAMES {
            // The one that would be forgotten first: it can be looked up again.
            let first = table.iter().min_by_key(|(_, known)| known.end());
            let first = first.map(|(name, _)| name.clone());
            first.and_then(|first| table.remove(&first));
        }
    }
    table.entry(name.into()).or_default()
}

#[cfg(test)]
mod tests;
