//! What pods of this node may reach outside of the mesh, as EgressPolicies say it.
//!
//! A name that a client gives proves nothing: whoever may reach `api.example.com` could say so on the way to anywhere. So a
//! name counts only towards addresses that it resolves to, by resolvers that the node's operator trusts, asked from
//! ztunnel's own network namespace. What happens in a pod's namespace (a resolver of its own, a forged answer) has no part
//! in it.
//!
//! Invariants: no address is a name's by the word of a pod; what is not known is looked up, and what cannot be looked up is
//! refused; what clients do does not make memory grow.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hickory_proto::rr::RecordType;
use tokio::sync::Semaphore;

mod answer;
mod names;
mod resolver;
mod rules;

pub(crate) use resolver::{Resolver, Transport, of_system};
pub(crate) use rules::{At, Leave, Rules, admits, nameless};

use names::{Holds, Names};

/// Names and who resolves them. One for the process.
#[derive(Debug)]
pub(crate) struct Egress {
    resolver: Resolver,
    names: Names,
}

/// Why an address is not known to be a name's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproven {
    #[error("{name} does not resolve to {ip}")]
    Another { name: String, ip: IpAddr },
    #[error("{name} could not be looked up: {error}")]
    Failed { name: String, error: std::io::Error },
    #[error("too many names of this pod are being looked up")]
    Busy,
}

impl Egress {
    /// With these resolvers.
    pub(crate) fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self {
            resolver: Resolver::new(resolvers),
            names: Names::default(),
        }
    }

    /// Who is trusted.
    pub(crate) fn resolvers(&self) -> &[SocketAddr] {
        self.resolver.servers()
    }

    /// Whether `ip` is an address of `name`, which is looked up if that is not known. One pod may look up so many names at
    /// once as there are `lookups`.
    pub(crate) async fn prove(
        &self,
        lookups: &Semaphore,
        name: &str,
        ip: IpAddr,
    ) -> Result<(), Unproven> {
        let ip = ip.to_canonical();
        let another = || Unproven::Another {
            name: name.to_owned(),
            ip,
        };
        match self.names.look(name, ip, Instant::now()) {
            Holds::Yes => return Ok(()),
            Holds::No => return Err(another()),
            Holds::Unknown => {}
        }
        let _permit = lookups.try_acquire().map_err(|_| Unproven::Busy)?;
        let kind = match ip {
            IpAddr::V4(_) => RecordType::A,
            IpAddr::V6(_) => RecordType::AAAA,
        };
        let found = self.resolver.lookup(name, kind).await;
        let found = found.map_err(|error| Unproven::Failed {
            name: name.to_owned(),
            error,
        })?;
        let now = Instant::now();
        self.names.learn(name, &found, now);
        self.names.asked(name, ip.is_ipv4(), now);
        match self.names.look(name, ip, now) {
            Holds::Yes => Ok(()),
            Holds::No | Holds::Unknown => Err(another()),
        }
    }

    /// The name in a pod's question, if `resolver` is trusted, so that its answer may be learnt from.
    pub(crate) fn name_in(&self, resolver: SocketAddr, question: &[u8]) -> Option<String> {
        let trusted = self.resolver.trusts(resolver);
        let asked = trusted.then(|| answer::asked(question)).flatten();
        asked.map(|(name, _)| name)
    }

    /// Asks a trusted `resolver` what a pod asked it, in the pod's place, and learns from the answer: the pod is told the
    /// very addresses that are held to be the name's.
    pub(crate) async fn relay(
        &self,
        resolver: SocketAddr,
        question: &[u8],
        transport: Transport,
    ) -> std::io::Result<Vec<u8>> {
        let (answered, found) = self.resolver.relay(resolver, question, transport).await?;
        if let Some((name, found)) = found {
            self.names.learn(&name, &found, Instant::now());
        }
        Ok(answered)
    }
}
