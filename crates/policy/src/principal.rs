//! The two sides of a decision's input: who the peer proved to be, and what it connects to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a verified SPIFFE identity `spiffe://TD/ns/NS/sa/SA` says of a peer.
///
/// It is kept as the one text that policies compare with, `TD/ns/NS/sa/SA`, so that matching allocates nothing. No part
/// is empty or contains `/`: two different peers never have the same text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    text: Arc<str>,
    trust_domain_len: usize,
    namespace_len: usize,
}

/// A part of a principal is empty or contains `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of a principal is empty or contains '/'")]
pub struct InvalidPrincipal {
    part: &'static str,
}

const NAMESPACE: &str = "/ns/";
const SERVICE_ACCOUNT: &str = "/sa/";

impl Principal {
    /// The principal of a service account.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, InvalidPrincipal> {
        for (part, text) in [
            ("trust domain", trust_domain),
            ("namespace", namespace),
            ("service account", service_account),
        ] {
            if text.is_empty() || text.contains('/') {
                return Err(InvalidPrincipal { part });
            }
        }
        Ok(Self {
            text: [
                trust_domain,
                NAMESPACE,
                namespace,
                SERVICE_ACCOUNT,
                service_account,
            ]
            .concat()
            .into(),
            trust_domain_len: trust_domain.len(),
            namespace_len: namespace.len(),
        })
    }

    /// `TD/ns/NS/sa/SA`: the SPIFFE ID without its scheme, as policies write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.text[..self.trust_domain_len]
    }

    /// The Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let start = self.namespace_start();
        &self.text[start..start + self.namespace_len]
    }

    /// The Kubernetes service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.text[self.namespace_start() + self.namespace_len + SERVICE_ACCOUNT.len()..]
    }

    const fn namespace_start(&self) -> usize {
        self.trust_domain_len + NAMESPACE.len()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// What a policy is asked about. Only what was verified: the peer's certificate and the addresses of the sockets, after
/// a service port was mapped to the port that will be dialled.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Who the peer proved to be by mutual TLS; `None` for a plain-text peer.
    pub peer: Option<&'a Principal>,
    /// The peer's address.
    pub source: IpAddr,
    /// The address and port of the workload that will be dialled.
    pub destination: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_again() {
        let peer = Principal::new("cluster.local", "demo", "web").unwrap();
        assert_eq!(peer.as_str(), "cluster.local/ns/demo/sa/web");
        assert_eq!(peer.trust_domain(), "cluster.local");
        assert_eq!(peer.namespace(), "demo");
        assert_eq!(peer.service_account(), "web");
    }

    #[test]
    fn a_part_cannot_pretend_to_be_two() {
        for parts in [
            ["td", "a/sa/b", "c"],
            ["td/ns/x", "a", "b"],
            ["td", "a", "b/c"],
            ["td", "", "b"],
        ] {
            assert!(
                Principal::new(parts[0], parts[1], parts[2]).is_err(),
                "{parts:?}"
            );
        }
    }
}
