//! Names and addresses as Kubernetes has them.

use std::net::IpAddr;

/// A label of DNS, as namespaces, services and ports are named.
pub fn dns_label(name: &str) -> Result<(), String> {
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    if name.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no DNS label: at most 63 lower-case letters, digits and '-'"
    ))
}

/// Labels of DNS with dots between them, as most objects are named.
pub fn dns_subdomain(name: &str) -> Result<(), String> {
    if name.len() <= 253 && name.split('.').all(|label| dns_label(label).is_ok()) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no DNS name: lower-case letters, digits, '-' and '.'"
    ))
}

/// An address that a pod or service may have.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is no IP address"))?;
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if mapped || address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(format!("{text} is no address of a pod or service"));
    }
    Ok(address)
}

/// A port that came as a number of any size.
pub(super) fn port(number: i32) -> Result<u16, String> {
    crate::api::Port::try_from(i64::from(number)).map(crate::api::Port::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web-1", "0"] {
            assert!(dns_label(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(dns_label(bad).is_err(), "{bad}");
        }
        assert!(dns_subdomain("a.b-c.d").is_ok());
        for bad in ["a..b", ".a", "a/b", "..", &["a"; 128].join(".")] {
            assert!(dns_subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert!(address("10.0.0.1").is_ok() && address("fd00::1").is_ok());
        for bad in [
            "",
            "10.0.0",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
