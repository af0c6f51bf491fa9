//! Which names a certificate is for (RFC 6125).
//!
//! Invariant: only subject alternative names count. The common name never does, and an asterisk stands for one label.

use boring::x509::X509Ref;

use crate::config::route::Hostname;

/// A name that a certificate has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Of a host. With an asterisk: any name of one label more, or the very same.
    Host(Hostname),
    /// The very same URI.
    Uri(Box<str>),
}

/// The hosts that a certificate names, as far as they can be read.
pub fn hosts(leaf: &X509Ref) -> Vec<Hostname> {
    let names = leaf.subject_alt_names();
    let names = names.iter().flatten();
    names
        .filter_map(|name| Hostname::decode(name.dnsname()?).ok())
        .collect()
}

/// Whether a certificate that names `host` is for `name`.
pub fn covers(host: &Hostname, name: &str) -> bool {
    match host {
        Hostname::Exact(host) => **host == *name,
        Hostname::Wildcard(suffix) | Hostname::Label(suffix) => name
            .strip_suffix(&**suffix)
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
    }
}

/// Whether the certificate has one of these.
pub(super) fn has_one(leaf: &X509Ref, wanted: &[Name]) -> bool {
    let hosts = hosts(leaf);
    let uris = leaf.subject_alt_names();
    wanted.iter().any(|wanted| match wanted {
        Name::Host(wanted) => hosts.iter().any(|host| fits(host, wanted)),
        Name::Uri(wanted) => uris
            .iter()
            .flatten()
            .any(|name| name.uri() == Some(&**wanted)),
    })
}

fn fits(host: &Hostname, wanted: &Hostname) -> bool {
    match (host, wanted) {
        (host, Hostname::Exact(name)) => covers(host, name),
        (Hostname::Exact(name), wanted) => covers(wanted, name),
        (host, wanted) => host == wanted,
    }
}

/// All names of a certificate, for people.
pub(super) fn listed(leaf: &X509Ref) -> String {
    let names = leaf.subject_alt_names();
    let names = names.iter().flatten();
    let texts: Vec<_> = names
        .filter_map(|name| name.dnsname().or(name.uri()))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use boring::x509::X509;

    use super::*;
    use crate::config::certificate::testing::ecdsa;

    #[test]
    fn one_label_for_an_asterisk_and_no_common_name() {
        let leaf = |names: &[&str]| X509::from_pem(ecdsa(names).chain.as_bytes()).unwrap();
        let host = |name: &str| Name::Host(Hostname::decode(name).unwrap());
        for (names, wanted, expected) in [
            (&["a.example"][..], "a.example", true),
            (&["A.example"], "a.example", true),
            (&["b.example", "a.example"], "a.example", true),
            (&["*.example"], "a.example", true),
            (&["*.example"], "a.b.example", false),
            (&["*.example"], "example", false),
            (&["a.example"], "b.example", false),
            (&["a.example.evil"], "a.example", false),
            // A wildcard that is asked for.
            (&["a.example"], "*.example", true),
            (&["*.example"], "*.example", true),
            (&["a.b.example"], "*.example", false),
            (&["*.b.example"], "*.example", false),
            // `test` is the subject's common name.
            (&["a.example"], "test", false),
        ] {
            let found = has_one(&leaf(names), &[host(wanted)]);
            assert_eq!(found, expected, "{names:?} {wanted}");
        }
        let named = leaf(&["a.example", "b.example"]);
        assert!(has_one(&named, &[host("c.example"), host("b.example")]));
        assert!(!has_one(&named, &[Name::Uri("a.example".into())]));
        assert!(!has_one(&named, &[]));
        assert_eq!(listed(&named), "a.example, b.example");
    }
}
