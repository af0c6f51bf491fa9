//! What is read out of X.509 certificates: their one SPIFFE ID, their validity, PEM and back.
//!
//! Invariant: a certificate names exactly one workload or none. Two URI names, a name in a form that can't be read, or
//! none at all is an error; never does the first win.

use crate::SpiffeId;
use crate::spiffe::SpiffeError;
use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::error::ErrorStack;
use boring::x509::{X509, X509Ref};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a certificate names no workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SanError {
    /// No subject alternative names, or they can't be parsed.
    #[error("it has no subject alternative name")]
    Missing,
    /// None of the names is a URI.
    #[error("none of its subject alternative names is a URI")]
    NoUri,
    /// More than one URI.
    #[error("it has more than one URI among its subject alternative names")]
    SeveralUris,
    /// A name of another kind than URI, DNS, IP address and mail, or one that isn't ASCII.
    #[error("it has a subject alternative name that can't be read")]
    Unreadable,
    /// The URI is no workload's SPIFFE ID.
    #[error("its URI is no SPIFFE ID of a workload: {0}")]
    Spiffe(#[from] SpiffeError),
}

/// The identity that a certificate is for.
pub(crate) fn spiffe_id(certificate: &X509Ref) -> Result<SpiffeId, SanError> {
    let names = certificate.subject_alt_names().ok_or(SanError::Missing)?;
    let mut uri = None;
    for name in &names {
        if let Some(text) = name.uri() {
            if uri.replace(text.to_owned()).is_some() {
                return Err(SanError::SeveralUris);
            }
        } else if name.dnsname().is_none() && name.email().is_none() && name.ipaddress().is_none() {
            return Err(SanError::Unreadable);
        }
    }
    Ok(uri.ok_or(SanError::NoUri)?.parse()?)
}

/// An ASN.1 time as wall clock.
pub fn system_time(time: &Asn1TimeRef) -> Result<SystemTime, ErrorStack> {
    let diff = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(diff.days) * 86_400 + i64::from(diff.secs);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    Ok(if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    })
}

/// A wall-clock time in ASN.1, to the second.
pub(crate) fn asn1_time(time: SystemTime) -> Result<Asn1Time, ErrorStack> {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(_before) => 0,
    };
    Asn1Time::from_unix(seconds)
}

/// The serial number in hexadecimal.
pub(crate) fn serial(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(certificate
        .serial_number()
        .to_bn()?
        .to_hex_str()?
        .to_lowercase())
}

/// One certificate as PEM text.
pub(crate) fn pem(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(String::from_utf8_lossy(&certificate.to_pem()?).into_owned())
}

/// Every certificate of PEM texts, in order.
pub(crate) fn from_pems<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<X509>, ErrorStack> {
    let mut certificates = Vec::new();
    for text in texts {
        certificates.extend(X509::stack_from_pem(text.as_bytes())?);
    }
    Ok(certificates)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive() {
        for seconds in [0, 1, 86_399, 86_400, 1_700_000_000, 4_000_000_000] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(system_time(&asn1_time(time).unwrap()).unwrap(), time);
        }
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
