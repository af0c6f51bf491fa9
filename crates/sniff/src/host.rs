//! The host a request names, in one canonical form.
//!
//! Invariant: two spellings of one host become the same [`Host`], and anything else is refused; the backend gets the
//! canonical form.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// Longest name of the DNS.
const MAX_NAME: usize = 253;

/// A host name or address, lower case, without trailing dot, and the port if one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

/// Not a host with an optional port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host with an optional port")]
pub struct HostError;

impl<'a> Host<'a> {
    /// Parses the value of a `Host` header or an authority without user information.
    pub fn parse(raw: &'a [u8]) -> Result<Self, HostError> {
        let text = std::str::from_utf8(raw).map_err(|_| HostError)?;
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']').ok_or(HostError)?;
            let address: Ipv6Addr = address.parse().map_err(|_| HostError)?;
            let port = match rest {
                "" => None,
                rest => Some(port(rest.strip_prefix(':').ok_or(HostError)?)?),
            };
            return Ok(Self {
                name: Cow::Owned(format!("[{address}]")),
                port,
            });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, digits)) => (name, Some(port(digits)?)),
            None => (text, None),
        };
        Ok(Self {
            name: canonical_name(name)?,
            port,
        })
    }

    /// The canonical name; an IPv6 address stands in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, if one was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether `raw`, which this was parsed from, is the canonical form already.
    pub fn is_verbatim(&self, raw: &[u8]) -> bool {
        // Parsing changes case, cuts a dot or rewrites an address: each of them shows in the name.
        raw.strip_prefix(self.name.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A port without sign, leading zero or blank.
fn port(digits: &str) -> Result<u16, HostError> {
    let plain = !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit());
    if plain {
        digits.parse().map_err(|_| HostError)
    } else {
        Err(HostError)
    }
}

fn canonical_name(name: &str) -> Result<Cow<'_, str>, HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let empty_label = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if name.is_empty() || name.len() > MAX_NAME || empty_label || !name.bytes().all(allowed) {
        return Err(HostError);
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_host_are_one() {
        for (raw, canonical) in [
            ("web", "web"),
            ("WEB.Demo", "web.demo"),
            ("web.demo.", "web.demo"),
            ("Web.demo.:8080", "web.demo:8080"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[FD00:0::1]", "[fd00::1]"),
            ("[fd00::1]:443", "[fd00::1]:443"),
            ("a_b-c", "a_b-c"),
        ] {
            let host = Host::parse(raw.as_bytes()).unwrap();
            assert_eq!(host.to_string(), canonical);
            assert_eq!(host.is_verbatim(raw.as_bytes()), raw == canonical, "{raw}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "a".repeat(254);
        for raw in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "a:",
            "a:0",
            "a:080",
            "a:+80",
            "a:65536",
            "a:80:80",
            "user@a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a,b",
            "fd00::1",
            "[fd00::1",
            "[fd00::1]80",
            "[fd00::1%25eth0]",
            "[::1]:",
            "a\0b",
            "\u{e4}",
            &long,
        ] {
            assert_eq!(Host::parse(raw.as_bytes()), Err(HostError), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(raw in "[a-cA-C.\\-:\\[\\]0-9]{0,12}") {
            if let Ok(host) = Host::parse(raw.as_bytes()) {
                let canonical = host.to_string();
                let again = Host::parse(canonical.as_bytes()).unwrap();
                prop_assert_eq!(again.to_string(), canonical.clone());
                prop_assert!(again.is_verbatim(canonical.as_bytes()));
            }
        }
    }
}
