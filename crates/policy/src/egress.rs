//! What a workload may reach outside of the mesh: EgressPolicies by address, and by the name that a client gives.
//!
//! Invariants: what no rule admits is refused, also where there is no rule at all; a rule by name admits nothing by
//! itself: it says which name to prove. Whether an address is the name's, the caller finds out.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// One EgressPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EgressPolicy {
    /// `NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// Any admits.
    pub rules: Vec<EgressRule>,
}

/// Destinations, and ports of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EgressRule {
    /// By address.
    pub blocks: Vec<EgressBlock>,
    /// By name.
    pub hosts: Vec<HostPattern>,
    /// Empty: every port.
    #[serde(serialize_with = "shown")]
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Addresses, but for some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EgressBlock {
    /// These.
    pub cidr: IpNet,
    /// None of these.
    pub except: Vec<IpNet>,
}

/// A name, or all that are below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name.
    Exact(Box<str>),
    /// Every name that ends so, beginning with a dot.
    Below(Box<str>),
}

/// What is no name of a host, nor `*.` before one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name such as api.example.com or *.example.com: lower-case letters, digits and '-' between dots"
)]
pub struct InvalidHost(pub String);

impl HostPattern {
    /// Reads `api.example.com` or `*.example.com`, which is every name with one label or more before `.example.com`.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let label = |label: &str| {
            let inner =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = text.strip_prefix("*.").unwrap_or(text);
        // An address is reached by a block: nobody resolves it.
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let last_is_numeric = name.rsplit('.').next().is_some_and(numeric);
        if name.len() > 253 || !name.split('.').all(label) || last_is_numeric {
            return Err(InvalidHost(text.to_owned()));
        }
        Ok(match text.strip_prefix('*') {
            Some(below) => Self::Below(below.into()),
            None => Self::Exact(text.into()),
        })
    }

    /// Whether a name in canonical form (lower case, no final dot) is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Below(below) => name.len() > below.len() && name.ends_with(&**below),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(exact) => serializer.serialize_str(exact),
            Self::Below(below) => serializer.collect_str(&format_args!("*{below}")),
        }
    }
}

impl EgressBlock {
    fn contains(&self, ip: &IpAddr) -> bool {
        self.cidr.contains(ip) && !self.except.iter().any(|except| except.contains(ip))
    }
}

impl EgressRule {
    fn is_for(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(&port))
    }
}

/// The policies of one workload: together they are one list of what is admitted.
#[derive(Clone, Debug, Default)]
pub struct EgressSet(Vec<Arc<EgressPolicy>>);

/// What address and port alone tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressWord<'a> {
    /// This policy admits them.
    Admitted(&'a Arc<str>),
    /// A rule by name may: the client has to give one.
    ByName,
    /// Nothing admits them, whatever the client says.
    Refused,
}

impl EgressSet {
    /// What address and port alone tell.
    #[must_use]
    pub fn at(&self, to: SocketAddr) -> EgressWord<'_> {
        let ip = to.ip().to_canonical();
        let mut by_name = false;
        for (policy, rule) in self.rules_for(to.port()) {
            if rule.blocks.iter().any(|block| block.contains(&ip)) {
                return EgressWord::Admitted(&policy.name);
            }
            by_name |= !rule.hosts.is_empty();
        }
        if by_name && may_be_named(ip) {
            EgressWord::ByName
        } else {
            EgressWord::Refused
        }
    }

    /// The policy that admits this name at this port, if the address is proved to be the name's.
    #[must_use]
    pub fn named(&self, to: SocketAddr, name: &str) -> Option<&Arc<str>> {
        let mut rules = self.rules_for(to.port());
        let names = |rule: &EgressRule| rule.hosts.iter().any(|host| host.matches(name));
        let found = rules.find(|(_, rule)| names(rule))?;
        may_be_named(to.ip().to_canonical()).then_some(&found.0.name)
    }

    /// Whether a rule is by this name, at whatever port.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        let mut hosts = self
            .0
            .iter()
            .flat_map(|policy| &policy.rules)
            .flat_map(|rule| &rule.hosts);
        hosts.any(|host| host.matches(name))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EgressPolicy>> {
        self.0.iter()
    }

    /// Whether there is none, and so nothing is admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the very same policies.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs().all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn rules_for(&self, port: u16) -> impl Iterator<Item = (&Arc<EgressPolicy>, &EgressRule)> {
        let all = self
            .0
            .iter()
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
        all.filter(move |(_, rule)| rule.is_for(port))
    }
}

impl FromIterator<Arc<EgressPolicy>> for EgressSet {
    fn from_iter<I: IntoIterator<Item = Arc<EgressPolicy>>>(policies: I) -> Self {
        Self(policies.into_iter().collect())
    }
}

/// Whether a name may lead to an address. Whoever writes the zone of a name chooses its addresses, and must not lead a
/// client to what is the node's own: metadata services stand at link-local addresses.
fn may_be_named(ip: IpAddr) -> bool {
    let own = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(own || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// For people who read a dump.
fn shown<S: Serializer>(ports: &[RangeInclusive<u16>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(
        ports
            .iter()
            .map(|ports| match (ports.start(), ports.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            }),
    )
}

#[cfg(test)]
mod tests;
