//! Certificate requests: ECDSA P-256, empty subject, the SPIFFE ID as the only name.
//!
//! Invariant: a request's private key leaves this process never, and appears in no Debug text.

use crate::SpiffeId;
use crate::spiffe::SpiffeError;
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{Id, PKey, PKeyRef, Private, Public};
use boring::stack::Stack;
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509NameBuilder, X509Req};
use std::fmt;

/// A request of P-256 has a few hundred bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// Why a request isn't signed.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a request in PEM.
    #[error("it is no PKCS #10 request in PEM")]
    Malformed,
    /// The request isn't signed with its own key.
    #[error("its signature does not prove possession of its key")]
    Proof,
    /// A key of another kind than ECDSA P-256.
    #[error("its key is not ECDSA P-256")]
    Key,
    /// The identity is no SPIFFE ID.
    #[error(transparent)]
    Identity(#[from] SpiffeError),
    /// The cryptographic library failed.
    #[error(transparent)]
    Crypto(#[from] ErrorStack),
}

/// A request with the key that it is for.
pub(crate) struct Request {
    pub(crate) pem: String,
    pub(crate) key: PKey<Private>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request(..)")
    }
}

/// A new P-256 key.
pub(crate) fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// The public half of a key.
pub(crate) fn public_half(key: &PKeyRef<Private>) -> Result<PKey<Public>, ErrorStack> {
    PKey::public_key_from_der(&key.public_key_to_der()?)
}

/// A new key, and the request for a certificate of it.
pub(crate) fn new_request(id: &SpiffeId) -> Result<Request, ErrorStack> {
    let key = new_key()?;
    let mut builder = X509Req::builder()?;
    builder.set_version(0)?;
    builder.set_subject_name(&X509NameBuilder::new()?.build())?;
    builder.set_pubkey(&key)?;
    let names = SubjectAlternativeName::new()
        .critical()
        .uri(id.as_str())
        .build(&builder.x509v3_context(None))?;
    let mut extensions = Stack::new()?;
    extensions.push(names)?;
    builder.add_extensions(&extensions)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let pem = String::from_utf8_lossy(&builder.build().to_pem()?).into_owned();
    Ok(Request { pem, key })
}

/// The public key of a request that proves to hold the private one.
pub(crate) fn public_key(pem: &str) -> Result<PKey<Public>, CsrError> {
    if pem.len() > MAX_REQUEST {
        return Err(CsrError::Malformed);
    }
    let request = X509Req::from_pem(pem.as_bytes()).map_err(|_| CsrError::Malformed)?;
    let key = request.public_key().map_err(|_| CsrError::Malformed)?;
    let p256 =
        key.id() == Id::EC && key.ec_key()?.group().curve_name() == Some(Nid::X9_62_PRIME256V1);
    if !p256 {
        return Err(CsrError::Key);
    }
    if !request.verify(&key).unwrap_or(false) {
        return Err(CsrError::Proof);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boring::rsa::Rsa;

    #[test]
    fn another_kind_of_key_is_refused() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509Req::builder().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let pem = String::from_utf8(builder.build().to_pem().unwrap()).unwrap();
        assert!(matches!(public_key(&pem), Err(CsrError::Key)));
    }

    #[test]
    fn debug_hides_the_key() {
        let request = new_request(&"spiffe://td/ns/a/sa/b".parse().unwrap()).unwrap();
        assert_eq!(format!("{request:?}"), "Request(..)");
    }
}
