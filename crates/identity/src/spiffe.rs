//! SPIFFE names of workloads: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
//!
//! Invariant: a value of these types is canonical, so that two names are equal exactly when their texts are. What is
//! not canonical (another case, percent encoding, `..`, a user, a port, a query, a NUL) is an error, never repaired.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no SPIFFE name of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// The scheme is missing or not written `spiffe://`.
    #[error("a SPIFFE ID starts with `spiffe://`")]
    Scheme,
    /// The trust domain breaks SPIFFE's rules.
    #[error("the trust domain is 1 to 255 of [a-z0-9._-] in non-empty labels")]
    TrustDomain,
    /// The path is not `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    #[error("the path of a workload's SPIFFE ID is `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`")]
    Path,
    /// The namespace is no DNS label.
    #[error("the namespace is a DNS label of at most 63 characters")]
    Namespace,
    /// The service account is no DNS subdomain.
    #[error("the service account is a DNS subdomain of at most 253 characters")]
    ServiceAccount,
}

/// The name of a mesh's root of trust, for example `cluster.local`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks `name` by SPIFFE's rules.
    pub fn new(name: &str) -> Result<Self, SpiffeError> {
        let label =
            |l: &str| !l.is_empty() && l.bytes().all(|b| lower_alnum(b) || b == b'-' || b == b'_');
        if name.len() > 255 || !name.split('.').all(label) {
            return Err(SpiffeError::TrustDomain);
        }
        Ok(Self(name.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(s: &str) -> Result<Self, SpiffeError> {
        Self::new(s)
    }
}

/// The identity of a workload. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    // The whole URI. The parts below are slices of it, so equality of the text is equality of the identity.
    uri: Arc<str>,
    trust_domain_len: u8,
    namespace_len: u8,
}

const SCHEME: &str = "spiffe://";
const NS: &str = "/ns/";
const SA: &str = "/sa/";

impl SpiffeId {
    /// The identity of a service account.
    pub fn new(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        Self::from_parts(trust_domain.as_str(), namespace, service_account)
    }

    fn from_parts(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        TrustDomain::new(trust_domain)?;
        if namespace.len() > 63 || !dns_label(namespace) {
            return Err(SpiffeError::Namespace);
        }
        if service_account.len() > 253 || !service_account.split('.').all(dns_label) {
            return Err(SpiffeError::ServiceAccount);
        }
        let length = |s: &str| u8::try_from(s.len()).map_err(|_| SpiffeError::TrustDomain);
        Ok(Self {
            trust_domain_len: length(trust_domain)?,
            namespace_len: length(namespace)?,
            uri: format!("{SCHEME}{trust_domain}{NS}{namespace}{SA}{service_account}").into(),
        })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The name without its scheme, as policies compare it.
    pub fn principal(&self) -> &str {
        &self.uri[SCHEME.len()..]
    }

    /// The trust domain's text.
    pub fn trust_domain(&self) -> &str {
        &self.principal()[..usize::from(self.trust_domain_len)]
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        let start = usize::from(self.trust_domain_len) + NS.len();
        &self.principal()[start..start + usize::from(self.namespace_len)]
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        let start = usize::from(self.trust_domain_len)
            + NS.len()
            + usize::from(self.namespace_len)
            + SA.len();
        &self.principal()[start..]
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(s: &str) -> Result<Self, SpiffeError> {
        let rest = s.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(SpiffeError::Path)?;
        let mut parts = path.split('/');
        let (Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(SpiffeError::Path);
        };
        Self::from_parts(trust_domain, namespace, service_account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// A label as RFC 1123 has it, in lower case.
fn dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    label.len() <= 63
        && lower_alnum(first)
        && lower_alnum(last)
        && bytes.iter().all(|&b| lower_alnum(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(s: &str) -> Result<SpiffeId, SpiffeError> {
        s.parse()
    }

    #[test]
    fn parts_of_a_name() {
        let id = parse("spiffe://cluster.local/ns/shop/sa/cert-manager.io").unwrap();
        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.namespace(), "shop");
        assert_eq!(id.service_account(), "cert-manager.io");
        assert_eq!(id.principal(), "cluster.local/ns/shop/sa/cert-manager.io");
    }

    #[test]
    fn refused() {
        use SpiffeError::*;
        let long = format!("spiffe://td/ns/{}/sa/x", "n".repeat(64));
        let long_sa = format!(
            "spiffe://td/ns/n/sa/{}",
            ["s".repeat(63).as_str(); 4].join(".")
        );
        for (text, why) in [
            ("", Scheme),
            ("SPIFFE://td/ns/a/sa/b", Scheme),
            ("http://td/ns/a/sa/b", Scheme),
            ("spiffe:/td/ns/a/sa/b", Scheme),
            (" spiffe://td/ns/a/sa/b", Scheme),
            ("spiffe://td", Path),
            ("spiffe://td/", Path),
            ("spiffe://td/ns/a", Path),
            ("spiffe://td/ns/a/sa/b/", Path),
            ("spiffe://td/ns/a/sa/b/c", Path),
            ("spiffe://td//ns/a/sa/b", Path),
            ("spiffe://td/NS/a/sa/b", Path),
            ("spiffe:///ns/a/sa/b", TrustDomain),
            ("spiffe://TD/ns/a/sa/b", TrustDomain),
            ("spiffe://user@td/ns/a/sa/b", TrustDomain),
            ("spiffe://td:80/ns/a/sa/b", TrustDomain),
            ("spiffe://td./ns/a/sa/b", TrustDomain),
            ("spiffe://t%64/ns/a/sa/b", TrustDomain),
            ("spiffe://td/ns/../sa/b", Namespace),
            ("spiffe://td/ns//sa/b", Namespace),
            ("spiffe://td/ns/a.b/sa/b", Namespace),
            ("spiffe://td/ns/a%2fb/sa/b", Namespace),
            ("spiffe://td/ns/-a/sa/b", Namespace),
            (&long, Namespace),
            ("spiffe://td/ns/a/sa/", ServiceAccount),
            ("spiffe://td/ns/a/sa/..", ServiceAccount),
            ("spiffe://td/ns/a/sa/b\0", ServiceAccount),
            ("spiffe://td/ns/a/sa/b?x", ServiceAccount),
            ("spiffe://td/ns/a/sa/b#x", ServiceAccount),
            ("spiffe://td/ns/a/sa/B", ServiceAccount),
            ("spiffe://td/ns/a/sa/*", ServiceAccount),
            (&long_sa, ServiceAccount),
        ] {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_prints_as_it_was(text in "(spiffe://)?[a-z0-9A-Z.%/:@_-]{0,40}|\\PC{0,60}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn parts_survive(td in "[a-z0-9_-]{1,8}(\\.[a-z0-9]{1,8}){0,3}", ns in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
                         sa in "[a-z0-9]([a-z0-9.]{0,1}[a-z0-9]){0,9}") {
            let id = SpiffeId::new(&TrustDomain::new(&td).unwrap(), &ns, &sa).unwrap();
            prop_assert_eq!((id.trust_domain(), id.namespace(), id.service_account()), (&*td, &*ns, &*sa));
            prop_assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        }
    }
}
