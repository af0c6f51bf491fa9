//! A root, or an intermediate below one, as texts that somebody else keeps.
//!
//! Invariant: what cannot sign certificates that its own root verifies is refused when it is read, not when it is needed.

use super::{CONTROLLER_NAMESPACE, CONTROLLER_SERVICE_ACCOUNT, ROOT_LIFETIME, Root, issue};
use crate::{SpiffeId, TrustDomain, csr, x509};
use boring::error::ErrorStack;
use boring::pkey::PKey;
use boring::stack::Stack;
use boring::x509::store::X509StoreBuilder;
use boring::x509::{X509, X509StoreContext};
use std::fmt;
use std::time::Duration;

/// A key, the certificates from its own upwards, and the roots where they do not end in one.
#[derive(Clone, PartialEq, Eq)]
pub struct Pems {
    /// PKCS #8 or any that BoringSSL reads.
    pub key: String,
    /// The key's certificate first.
    pub chain: String,
    /// What everybody is to trust; left out it is the last of the chain.
    pub roots: Option<String>,
}

impl fmt::Debug for Pems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pems(..)")
    }
}

/// Why texts are no authority.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// No private key.
    #[error("the key is no private key in PEM")]
    Key,
    /// No certificate where one has to be.
    #[error("{0} holds no certificate in PEM")]
    Certificate(&'static str),
    /// Two authorities mixed up.
    #[error("the first certificate is not that of the key")]
    Mismatch,
    /// The chain does not end in what is trusted, has run out, or may not sign.
    #[error("what it signs is not trusted by its own root: {0}")]
    Untrusted(String),
    /// The certificate authority itself is at fault.
    #[error(transparent)]
    Root(#[from] super::RootError),
    /// The cryptographic library failed.
    #[error(transparent)]
    Crypto(#[from] ErrorStack),
}

impl Root {
    /// A new root, and its texts.
    pub fn generate(trust_domain: &TrustDomain) -> Result<Pems, PemError> {
        let key = csr::new_key()?;
        let certificate = issue::root(&key, trust_domain, ROOT_LIFETIME)?;
        let key = key.private_key_to_pem_pkcs8()?;
        Ok(Pems {
            key: String::from_utf8_lossy(&key).into_owned(),
            chain: x509::pem(&certificate)?,
            roots: None,
        })
    }

    /// The authority of these texts.
    pub fn from_pems(pems: &Pems, trust_domain: TrustDomain) -> Result<Self, PemError> {
        let key = PKey::private_key_from_pem(pems.key.as_bytes()).map_err(|_| PemError::Key)?;
        let read = |what, text: &str| {
            let read = X509::stack_from_pem(text.as_bytes());
            let read = read.map_err(|_| PemError::Certificate(what))?;
            if read.is_empty() {
                return Err(PemError::Certificate(what));
            }
            Ok(read)
        };
        let mut chain = read("the certificate", &pems.chain)?;
        let roots = match &pems.roots {
            Some(roots) => read("the root", roots)?,
            None => chain.last().cloned().into_iter().collect(),
        };
        let certificate = chain.remove(0);
        if !certificate.public_key()?.public_eq(&key) {
            return Err(PemError::Mismatch);
        }
        let mut above = chain;
        if certificate.to_der()? != roots[0].to_der()? {
            let last = above.last().map(|last| last.to_der()).transpose()?;
            if last != Some(roots[0].to_der()?) {
                above.push(roots[0].clone());
            }
        }
        let mut not_after = x509::system_time(certificate.not_after())?;
        for certificate in &above {
            not_after = not_after.min(x509::system_time(certificate.not_after())?);
        }
        let root = Self {
            trust_domain,
            key,
            certificate,
            above,
            roots,
            not_after,
        };
        root.prove()?;
        Ok(root)
    }

    /// Sign something and see whether those who trust our roots would take it.
    fn prove(&self) -> Result<(), PemError> {
        let key = csr::new_key()?;
        let id = SpiffeId::new(
            &self.trust_domain,
            CONTROLLER_NAMESPACE,
            CONTROLLER_SERVICE_ACCOUNT,
        );
        let leaf = issue::Leaf {
            public_key: &*csr::public_half(&key)?,
            spiffe: &id.map_err(|error| super::RootError::Request(error.into()))?,
            dns: &[],
            ips: &[],
            ttl: Duration::from_secs(60),
        };
        let leaf = issue::leaf(self, &leaf)?;
        let mut store = X509StoreBuilder::new()?;
        for root in &self.roots {
            store.add_cert(root.clone())?;
        }
        let mut chain = Stack::new()?;
        chain.push(self.certificate.clone())?;
        for certificate in &self.above {
            chain.push(certificate.clone())?;
        }
        let store = store.build();
        let mut context = X509StoreContext::new()?;
        let verdict = context.init(&store, &leaf, &chain, |context| {
            let good = context.verify_cert()?;
            Ok((!good).then(|| context.verify_result()))
        })?;
        match verdict {
            None => Ok(()),
            Some(verdict) => Err(PemError::Untrusted(
                verdict.err().map(|e| e.to_string()).unwrap_or_default(),
            )),
        }
    }
}
