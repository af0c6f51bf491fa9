//! Addresses of names outside of the cluster, asked of the resolver that this process has itself.
//!
//! Invariants: an answer is used for as long as its TTL says, and after that only while nobody can say anything better,
//! for [`STALE`] at most; a name that does not resolve has no address. However many ask, a name is asked for once at a
//! time, and names, questions and answers are bounded.

mod cache;
mod message;
mod metrics;
mod query;
mod servers;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::task;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use cache::{Cache, Known};
use message::Answer;
use query::Failure;

pub use servers::Servers;

/// How long the last good answer is used after its TTL, while the resolver does not answer or says that it cannot.
pub const STALE: Duration = Duration::from_secs(600);
/// Names that are asked for at once.
const QUESTIONS: usize = 256;

/// Addresses of a name, in the resolver's order; never empty.
pub type Addresses = Arc<[IpAddr]>;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// It is no name.
    #[error("is no name of DNS")]
    Malformed,
    /// The resolver says so.
    #[error("has no address")]
    NoAddress,
    /// No resolver answers, or none can.
    #[error("no resolver could answer")]
    Failed,
    /// Too many names are asked for already.
    #[error("too many names are asked for")]
    Busy,
}

/// Resolves names. Cheap to clone; all clones know the same.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Servers,
    cache: Cache,
    questions: Arc<Semaphore>,
}

impl Resolver {
    /// One that asks these.
    #[must_use]
    pub fn new(servers: Servers) -> Self {
        Self(Arc::new(Inner {
            servers,
            cache: Cache::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
        }))
    }

    /// The addresses of a name, which is taken as it is, without any search list. An address is its own name.
    pub async fn resolve(&self, name: &str) -> Result<Addresses, Unresolved> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok([ip].into());
        }
        let mut coming = match self.0.cache.look(name, Instant::now()) {
            Known::Answer(answer) => return answer,
            Known::Coming(coming) => coming,
            Known::Nothing(stale) => match self.ask(name) {
                Ok(coming) => coming,
                Err(unresolved) => return stale.ok_or(unresolved),
            },
        };
        // Whoever asks ends by telling, also where it is cut short.
        let told = coming.wait_for(Option::is_some).await;
        told.map_or(Err(Unresolved::Failed), |told| {
            told.clone().unwrap_or(Err(Unresolved::Failed))
        })
    }

    /// Ask for a name, in a task of its own: who waits for it may give up.
    fn ask(&self, name: &str) -> Result<watch::Receiver<Option<Told>>, Unresolved> {
        let mut parsed = Name::from_ascii(name).map_err(|_| Unresolved::Malformed)?;
        parsed.set_fqdn(true);
        let permit = Arc::clone(&self.0.questions).try_acquire_owned();
        let permit = permit.map_err(|_| Unresolved::Busy)?;
        let (teller, coming) = watch::channel(None);
        if let Some(earlier) = self.0.cache.begin(name, &coming) {
            return Ok(earlier);
        }
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        task::spawn("resolve", async move {
            let _permit = permit;
            let found = both(&inner.servers, &parsed).await;
            metrics::asked(&found);
            if let Err(failure) = &found {
                tracing::debug!(name, ?failure, "a name did not resolve");
            }
            let told = inner.cache.end(&name, found, Instant::now());
            teller.send_replace(Some(told));
        });
        Ok(coming)
    }
}

/// Addresses in the order in which to try them: the families in turn, `v4` saying which is first, and in each from another
/// one on with each `turn`, so that all have their share.
#[must_use]
pub fn in_order(addresses: &[IpAddr], v4: bool, turn: usize) -> Vec<IpAddr> {
    let of = |v4: bool| {
        let mut of: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|ip| ip.is_ipv4() == v4)
            .collect();
        if !of.is_empty() {
            let first = turn % of.len();
            of.rotate_left(first);
        }
        of.into_iter()
    };
    let (mut first, mut second) = (of(v4), of(!v4));
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

/// What those who wait for an answer are told.
type Told = Result<Addresses, Unresolved>;

/// Addresses of both families, and for how long they are good.
#[derive(Debug)]
struct Found {
    addresses: Addresses,
    ttl: Duration,
}

/// Ask for both families at once. One of them that fails leaves the other; a family without addresses is an answer.
async fn both(servers: &Servers, name: &Name) -> Result<Found, Failure> {
    let (v4, v6) = tokio::join!(
        query::ask(servers, name, RecordType::A),
        query::ask(servers, name, RecordType::AAAA),
    );
    let mut found = Vec::new();
    let mut ttl = Duration::MAX;
    let mut failed = false;
    for answer in [v4, v6] {
        match answer {
            Ok(Answer::Addresses(addresses, good)) => {
                found.extend(addresses);
                ttl = ttl.min(good);
            }
            Ok(Answer::None) => {}
            Err(_failure) => failed = true,
        }
    }
    match (found.is_empty(), failed) {
        (false, _) => Ok(Found {
            addresses: found.into(),
            ttl,
        }),
        (true, false) => Err(Failure::NoAddress),
        (true, true) => Err(Failure::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_so_do_their_addresses() {
        let ips = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"];
        let ips = ips.map(|ip| ip.parse::<IpAddr>().unwrap());
        let ordered = |v4, turn| {
            let ordered = in_order(&ips, v4, turn);
            let last = |ip: &IpAddr| ip.to_string().chars().last();
            let kind = |ip: &IpAddr| if ip.is_ipv4() { '4' } else { '6' };
            let text = ordered.iter().flat_map(|ip| [Some(kind(ip)), last(ip)]);
            text.flatten().collect::<String>()
        };
        assert_eq!(ordered(true, 0), "41614243");
        assert_eq!(ordered(true, 1), "42614341");
        assert_eq!(ordered(false, 3), "61414243");
        assert!(in_order(&[], true, 7).is_empty());
    }

    #[tokio::test]
    async fn an_address_is_its_own_name_and_without_a_resolver_nothing_else_is() {
        let resolver = Resolver::new(Servers::new(Vec::new()));
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(resolver.resolve("192.0.2.1").await.unwrap()[..], [ip]);
        let failed = resolver.resolve("api.example").await;
        assert_eq!(failed, Err(Unresolved::Failed));
        let malformed = resolver.resolve(&"a".repeat(64)).await;
        assert_eq!(malformed, Err(Unresolved::Malformed));
    }
}
