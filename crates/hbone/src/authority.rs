//! The authority of a CONNECT: where the client wants to go.
//!
//! Invariant: one place has one text. [`Authority::parse`] accepts exactly the texts that [`Authority`] prints, so that
//! what was authorised can't be spelled in another way than what is dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest authority that is looked at.
const MAX: usize = 255;

/// Why a text is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Empty or longer than 255 bytes.
    #[error("the authority has 1 to 255 bytes")]
    Length,
    /// No port, port 0, or one that isn't written as plain digits.
    #[error("the port is 1 to 65535 in decimal without a leading zero")]
    Port,
    /// Not an IPv6 address in its canonical form within brackets.
    #[error("an IPv6 address is written in brackets, in the form of RFC 5952, without a zone")]
    Ipv6,
    /// An IPv4 address dressed as IPv6.
    #[error("an IPv4 address is not written as IPv6")]
    Mapped,
    /// Not a host name in lower case.
    #[error("a host name consists of labels of [a-z0-9_-], the last of which is no number")]
    Host,
}

/// A parsed authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authority {
    /// An address and port.
    Ip(SocketAddr),
    /// A host name and port.
    Host {
        /// In lower case.
        host: Box<str>,
        /// Not zero.
        port: u16,
    },
}

impl Authority {
    /// Parses the one canonical form.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if text.is_empty() || text.len() > MAX {
            return Err(AuthorityError::Length);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once("]:").ok_or(AuthorityError::Ipv6)?;
            return Ok(Self::Ip(SocketAddr::new(
                ipv6(address)?.into(),
                parse_port(port)?,
            )));
        }
        let (host, port) = text.rsplit_once(':').ok_or(AuthorityError::Port)?;
        let port = parse_port(port)?;
        // The standard library accepts dotted decimal without leading zeros only.
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(SocketAddr::new(address.into(), port)));
        }
        if !is_host(host) {
            return Err(AuthorityError::Host);
        }
        Ok(Self::Host {
            host: host.into(),
            port,
        })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Host { port, .. } => *port,
        }
    }
}

impl From<SocketAddr> for Authority {
    /// An address that is IPv4 inside IPv6 becomes IPv4.
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => match address.ip() {
                IpAddr::V4(ip) => write!(f, "{ip}:{}", address.port()),
                IpAddr::V6(ip) => write!(f, "[{ip}]:{}", address.port()),
            },
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let digits =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if digits {
        text.parse().map_err(|_| AuthorityError::Port)
    } else {
        Err(AuthorityError::Port)
    }
}

fn ipv6(text: &str) -> Result<Ipv6Addr, AuthorityError> {
    let address: Ipv6Addr = text.parse().map_err(|_| AuthorityError::Ipv6)?;
    if address.to_ipv4_mapped().is_some() {
        return Err(AuthorityError::Mapped);
    }
    if address.to_string() == text {
        Ok(address)
    } else {
        Err(AuthorityError::Ipv6)
    }
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    // A last label that is a number, decimal or hexadecimal, would be an IPv4 address to other parsers.
    let number = |label: &str| {
        let hex = label.strip_prefix("0x");
        label.bytes().all(|b| b.is_ascii_digit())
            || hex.is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    host.len() <= 253
        && host.split('.').all(label)
        && host.rsplit('.').next().is_some_and(|last| !number(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepted() {
        for text in [
            "10.0.0.2:80",
            "255.255.255.255:65535",
            "[fd00::1]:15008",
            "[::]:1",
            "[2001:db8:0:1:1:1:1:1]:8080",
            "web.shop.svc.cluster.local:80",
            "a:1",
            "x_y.example:443",
        ] {
            assert_eq!(Authority::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refused() {
        use AuthorityError::*;
        let long = format!("{}:80", "a.".repeat(200));
        let huge = "a".repeat(64 * 1024);
        let label = format!("{}.b:80", "a".repeat(64));
        for (text, why) in [
            ("", Length),
            (&long, Length),
            (&huge, Length),
            ("10.0.0.2", Port),
            ("10.0.0.2:", Port),
            ("10.0.0.2:0", Port),
            ("10.0.0.2:080", Port),
            ("10.0.0.2:+80", Port),
            ("10.0.0.2:65536", Port),
            ("10.0.0.2:99999", Port),
            ("10.0.0.2:80 ", Port),
            ("10.0.0.2:8\u{0660}", Port),
            ("[::ffff:10.0.0.2]:80", Mapped),
            ("[::ffff:a00:2]:80", Mapped),
            ("[fe80::1%eth0]:80", Ipv6),
            ("[fe80::1%25eth0]:80", Ipv6),
            ("[FD00::1]:80", Ipv6),
            ("[fd00:0::1]:80", Ipv6),
            ("[fd00::0001]:80", Ipv6),
            ("[0:0:0:0:0:0:0:1]:80", Ipv6),
            ("[fd00::1]", Ipv6),
            ("[fd00::1]80", Ipv6),
            ("[10.0.0.2]:80", Ipv6),
            ("fd00::1:80", Host),
            (":80", Host),
            ("a@b:80", Host),
            ("a:b@c:80", Host),
            ("Web.shop:80", Host),
            ("web.shop.:80", Host),
            ("web..shop:80", Host),
            ("-web:80", Host),
            ("web/shop:80", Host),
            ("web\0:80", Host),
            ("w%65b:80", Host),
            ("*:80", Host),
            ("10.0.0.256:80", Host),
            ("10.0.0:80", Host),
            ("010.0.0.2:80", Host),
            ("0x7f000001:80", Host),
            ("2130706433:80", Host),
            ("w\u{e9}b:80", Host),
            (&label, Host),
        ] {
            assert_eq!(Authority::parse(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_prints_as_it_was(text in "\\PC{0,40}|[0-9a-fx.:\\[\\]%@_-]{0,40}|[a-z0-9.-]{1,20}:[0-9]{1,6}") {
            if let Ok(authority) = Authority::parse(&text) {
                prop_assert_eq!(authority.to_string(), text);
                prop_assert!(authority.port() != 0);
            }
        }

        #[test]
        fn addresses_round_trip(ip in any::<IpAddr>(), port in 1u16..) {
            let authority = Authority::from(SocketAddr::new(ip, port));
            prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
        }

        #[test]
        fn hosts_round_trip(host in "[a-z]([a-z0-9]{0,9})(\\.[a-z]([a-z0-9-]{0,9}[a-z])?){0,4}", port in 1u16..) {
            let text = format!("{host}:{port}");
            prop_assert_eq!(Authority::parse(&text), Ok(Authority::Host { host: host.into(), port }));
        }
    }
}
