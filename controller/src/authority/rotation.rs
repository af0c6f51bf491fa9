//! From one authority to the next, while all run. Pure.
//!
//! Invariants: everybody is told to trust an authority before anything is signed by it; the roots of the one before are
//! trusted until what it signed has run out, also after a restart, unless the Secret says that they no longer are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use boring::sha::sha256;
use culvert_identity::bundle::TrustBundle;
use culvert_identity::ca::{Pems, Root, RootError};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Between the moment that an authority is trusted and its first signature. Proxies hear of it at once; the roots that
/// they know the controller by are copied into waypoints' namespaces within a minute, and mounted within another or so.
pub(super) const SETTLE: Duration = Duration::from_secs(180);
/// Roots are kept as long as any certificate may be valid now, and at least so long, since that may have been shortened.
const LEAST: Duration = Duration::from_secs(24 * 3600);
/// Replicas do not change at the same moment.
const MARGIN: Duration = Duration::from_secs(600);
const END: &str = "-----END CERTIFICATE-----";

/// An authority, and the texts that it is made of.
#[derive(Clone, Debug)]
pub struct Authority {
    pub(super) pems: Pems,
    /// Nobody is to trust any other.
    pub(super) alone: bool,
    /// What signs.
    pub root: Arc<Root>,
    roots: Vec<String>,
}

impl Authority {
    pub(super) fn new(pems: Pems, alone: bool, root: Root) -> Result<Self, RootError> {
        let roots = root.roots_pem()?;
        let root = Arc::new(root);
        Ok(Self {
            pems,
            alone,
            root,
            roots,
        })
    }

    fn is(&self, other: &Self) -> bool {
        self.pems == other.pems && self.alone == other.alone
    }
}

/// What clients of all replicas trust, as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// PEM, one an element.
    pub roots: Vec<String>,
    /// Until when those that no longer sign are trusted, by the hash of their text.
    pub retired: BTreeMap<String, Timestamp>,
}

impl Published {
    /// Of these texts. What cannot be read is left out: nobody is trusted by mistake.
    pub(super) fn parse(roots: &str, retired: &str) -> Self {
        let whole = |text: &str| {
            let pem = format!("{}{END}\n", text.trim_start());
            TrustBundle::from_pem(&[&pem]).is_ok().then_some(pem)
        };
        Self {
            roots: roots.split(END).filter_map(whole).collect(),
            retired: serde_json::from_str(retired).unwrap_or_default(),
        }
    }
}

/// Which authority signs, which will, and which did.
#[derive(Debug)]
pub struct Rotation {
    signing: Authority,
    next: Option<(Authority, Instant)>,
    retired: BTreeMap<String, Timestamp>,
}

impl Rotation {
    /// Begin with the Secret's authority, and what was published before this start: others may still present what
    /// was signed by it.
    #[must_use]
    pub fn new(signing: Authority, published: Published, ttl: Duration, now: Timestamp) -> Self {
        let mut new = Self {
            signing,
            next: None,
            retired: BTreeMap::new(),
        };
        let longest = until(now, ttl);
        for root in published.roots {
            let said = published.retired.get(&hash(&root)).copied();
            new.retire(root, said.unwrap_or(longest).min(longest));
        }
        new.tidy();
        new
    }

    /// The Secret holds this now. Whether that is new.
    pub(super) fn seen(&mut self, found: Authority, at: Instant) -> bool {
        let newest = self.next.as_ref().map_or(&self.signing, |(next, _)| next);
        if newest.is(&found) {
            return false;
        }
        let known = found.roots.iter().all(|r| self.signing.roots.contains(r));
        // Nobody has to learn of a root that is trusted already, and a root that must go must go now.
        let wait = if known || found.alone {
            Duration::ZERO
        } else {
            SETTLE
        };
        if let Some((passed_over, _)) = self.next.replace((found, at + wait)) {
            // Replicas that were started meanwhile have signed by it.
            for root in passed_over.roots {
                self.retire(root, Timestamp::MAX);
            }
        }
        true
    }

    /// When the next one begins to sign.
    pub(super) fn until(&self) -> Option<Instant> {
        self.next.as_ref().map(|(_, at)| *at)
    }

    /// The next one signs from now on, if it is time. What the one before signed is valid for so long.
    pub(super) fn step(&mut self, ttl: Duration, now: Timestamp, at: Instant) -> Option<Arc<Root>> {
        let (next, _) = self.next.take_if(|(_, due)| *due <= at)?;
        let before = std::mem::replace(&mut self.signing, next);
        let longest = until(now, ttl);
        for end in self.retired.values_mut() {
            *end = longest.min(*end);
        }
        for root in before.roots {
            self.retire(root, longest);
        }
        self.tidy();
        Some(self.signing.root.clone())
    }

    /// What everybody is to trust now.
    pub fn trusted(&mut self, now: Timestamp) -> Published {
        self.retired.retain(|_, end| *end > now);
        let mut roots = self.signing.roots.clone();
        let next = self.next.iter().flat_map(|(next, _)| &next.roots);
        for root in next.chain(self.retired.keys()) {
            if !roots.contains(root) {
                roots.push(root.clone());
            }
        }
        let retired = self.retired.iter();
        let retired = retired.map(|(root, end)| (hash(root), *end)).collect();
        Published { roots, retired }
    }

    fn retire(&mut self, root: String, end: Timestamp) {
        let known = self.retired.entry(root).or_insert(end);
        *known = end.max(*known);
    }

    fn tidy(&mut self) {
        if self.signing.alone {
            self.retired.clear();
        }
        for root in &self.signing.roots {
            self.retired.remove(root);
        }
    }
}

fn until(now: Timestamp, ttl: Duration) -> Timestamp {
    let wait = ttl.max(LEAST) + MARGIN;
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    let end = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

fn hash(root: &str) -> String {
    let hash = sha256(root.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
