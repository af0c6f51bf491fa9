//! What a listener asks of clients: a certificate of an authority that its Gateway names.
//!
//! Invariants: what is judged by is what was told, never more: authorities that cannot be read are none, and nobody passes
//! by them. A client is asked in each handshake, since there is no resumption.

use std::fmt;
use std::sync::Arc;

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::ssl::{SslRef, SslVerifyMode};
use boring::x509::store::{X509Store, X509StoreBuilder};
use boring::x509::verify::X509VerifyFlags;
use boring::x509::{GeneralNameRef, X509, X509Ref, X509VerifyError};
use culvert_proto::waypoint as pb;
use http::HeaderValue;

use super::ConfigError;

/// Names of a certificate that are passed on, at most.
const NAMES: usize = 32;
/// What is passed on of a certificate is no longer than this.
const LONGEST: usize = 4096;

/// Which certificates of clients are good.
pub struct ClientValidation {
    store: X509Store,
    /// Clients without a good one are served all the same.
    pub fallback: bool,
    /// As it came, by which two are told apart.
    authorities: Arc<str>,
}

impl fmt::Debug for ClientValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientValidation")
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

impl PartialEq for ClientValidation {
    fn eq(&self, other: &Self) -> bool {
        self.fallback == other.fallback && self.authorities == other.authorities
    }
}

impl ClientValidation {
    /// Reads the authorities.
    pub fn decode(raw: &pb::ClientValidation) -> Result<Self, ConfigError> {
        let wrong = |_| ConfigError::new("authorities", "hold what is no certificate in PEM");
        let authorities = X509::stack_from_pem(raw.authorities.as_bytes()).map_err(wrong)?;
        if authorities.is_empty() {
            return Err(ConfigError::new("authorities", "hold no certificate"));
        }
        Ok(Self {
            store: store(authorities).map_err(wrong)?,
            fallback: raw.allow_insecure_fallback,
            authorities: raw.authorities.as_str().into(),
        })
    }

    /// Has a handshake ask for a certificate. Without a good one it fails, unless there is a fallback.
    pub fn ask(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ssl.set_verify_cert_store(self.store.clone())?;
        if self.fallback {
            // Whatever is shown may pass; what is thought of it is looked at after the handshake.
            ssl.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        } else {
            ssl.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Ok(())
    }

    /// What backends are told of the certificate that a finished handshake has shown; nothing unless it is good.
    pub fn shown(&self, ssl: &SslRef) -> Option<HeaderValue> {
        let certificate = ssl.peer_certificate()?;
        let good: Result<(), X509VerifyError> = ssl.verify_result();
        good.ok()?;
        told(&certificate)
    }
}

fn store(authorities: Vec<X509>) -> Result<X509Store, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    for authority in authorities {
        builder.add_cert(authority)?;
    }
    // Who is named is trusted, whether or not somebody signed for them.
    builder.set_flags(X509VerifyFlags::PARTIAL_CHAIN);
    Ok(builder.build())
}

/// The value of `x-forwarded-client-cert`: the certificate's SHA-256, and the names of resources and hosts in it. What a
/// certificate says is written so that it can be read in one way: everything else than what names consist of is percent-encoded.
fn told(certificate: &X509Ref) -> Option<HeaderValue> {
    let digest = certificate.digest(MessageDigest::sha256()).ok()?;
    let hex = |byte: &u8| format!("{byte:02x}");
    let hash = format!("Hash={}", digest.iter().map(hex).collect::<String>());
    let names = certificate.subject_alt_names();
    let names = names.iter().flatten().filter_map(name).take(NAMES);
    let all: String = std::iter::once(hash.clone()).chain(names).collect();
    let value = if all.len() > LONGEST { hash } else { all };
    HeaderValue::try_from(value).ok()
}

fn name(name: &GeneralNameRef) -> Option<String> {
    let uri = name.uri().map(|uri| ("URI", uri));
    let (kind, text) = uri.or_else(|| Some(("DNS", name.dnsname()?)))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@*".contains(&byte);
    let mut written = format!(";{kind}=");
    for byte in text.bytes() {
        if plain(byte) {
            written.push(byte.into());
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::super::certificate::testing::Authority;
    use super::*;

    #[test]
    fn authorities_are_certificates_and_nothing_else() {
        let decode = |authorities: &str| {
            let raw = pb::ClientValidation {
                authorities: authorities.into(),
                allow_insecure_fallback: false,
            };
            ClientValidation::decode(&raw).map_err(|error| error.to_string())
        };
        let authority = Authority::new();
        let one = authority.certificate.clone();
        let two = format!("{one}\n{}", authority.server(&["b"]).chain);
        assert!(decode(&one).is_ok() && decode(&two).is_ok());
        assert_ne!(decode(&one).unwrap(), decode(&two).unwrap());
        for bad in ["", "x", &one.replacen("MII", "AII", 1)] {
            assert!(decode(bad).unwrap_err().starts_with("authorities: "));
        }
    }

    #[test]
    fn what_a_certificate_says_is_read_in_one_way() {
        let client =
            Authority::new().client(&["a.example", "b\";Hash=0, x"], &["spiffe://x/ns/a b"]);
        let certificate = X509::from_pem(client.chain.as_bytes()).unwrap();
        let value = told(&certificate).unwrap();
        let (hash, names) = value.to_str().unwrap().split_once(';').unwrap();
        assert_eq!((hash.len(), &hash[..5]), (5 + 64, "Hash="));
        assert_eq!(
            names,
            "DNS=a.example;DNS=b%22%3BHash%3D0%2C%20x;URI=spiffe://x/ns/a%20b"
        );
    }
}
