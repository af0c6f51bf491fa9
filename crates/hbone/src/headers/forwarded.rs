//! `Forwarded: for="ADDRESS:PORT";host=HOST` of RFC 7239, as far as tunnels use it.
//!
//! Invariant: only a well-formed address comes out of it, and it is telemetry: the source of a connection is its peer.

use std::fmt;
use std::net::SocketAddr;

/// Whom a tunnel's client serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The application's address.
    pub client: SocketAddr,
    /// The service that the application called, where it is known.
    pub host: Option<Box<str>>,
}

impl Forwarded {
    /// Parses a header's value of one hop. `None` when it says anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut client, mut host) = (None, None);
        for pair in text.split(';') {
            let (key, value) = pair.trim().split_once('=')?;
            let value = unquote(value)?;
            if key.eq_ignore_ascii_case("for") {
                client = Some(value.parse().ok()?);
            } else if key.eq_ignore_ascii_case("host") && is_host(value) {
                host = Some(value.into());
            }
        }
        Some(Self {
            client: client?,
            host,
        })
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for=\"{}\"", self.client)?;
        match self.host.as_deref().filter(|host| is_host(host)) {
            Some(host) => write!(f, ";host={host}"),
            None => Ok(()),
        }
    }
}

fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// A token of RFC 9110, short enough for a name.
fn is_host(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in [
            r#"for="10.0.0.1:5000";host=web.shop.svc"#,
            r#"for="[fd00::1]:5000""#,
        ] {
            assert_eq!(Forwarded::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "for",
            "for=x",
            "host=web",
            r#"for="10.0.0.1:80"#,
            r#"for="10.0.0.1""#,
            r#"for="a:1", for="b:2""#,
        ] {
            assert_eq!(Forwarded::parse(text), None, "{text}");
        }
        let odd = Forwarded::parse(r#"for="10.0.0.1:80";host="a b""#).unwrap();
        assert_eq!(odd.host, None);
    }
}
