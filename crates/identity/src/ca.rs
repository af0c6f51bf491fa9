//! The controller as certificate authority: one root, kept in two files, that signs workloads' and the controller's own
//! certificates.
//!
//! Invariants: the private key is on disk only with mode 0600 and in no Debug text; the names in a certificate are those
//! that the caller authorised, never those of the request.

mod issue;
mod pem;

use crate::file::{self, SecretFileError};
use crate::{SpiffeId, TrustDomain, csr, x509};
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::x509::X509;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use pem::{PemError, Pems};

const KEY_FILE: &str = "root.key";
const CERTIFICATE_FILE: &str = "root.pem";

/// Validity of a new root.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long before now a certificate starts, for clocks that run behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// Why the authority can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The certificate file is missing, broken, or belongs to another key.
    #[error("{path}: {why}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The request isn't one that is signed here.
    #[error("certificate request: {0}")]
    Request(#[from] csr::CsrError),
    /// The root itself ends before the asked certificate would.
    #[error("the root certificate has expired")]
    Expired,
    /// The cryptographic library failed.
    #[error("signing: {0}")]
    Crypto(#[from] ErrorStack),
}

/// A root certificate with its key.
#[derive(Clone)]
pub struct Root {
    trust_domain: TrustDomain,
    key: PKey<Private>,
    certificate: X509,
    /// From the signer's up to a root, that one too; none of a root that signs itself.
    above: Vec<X509>,
    /// What everybody trusts.
    roots: Vec<X509>,
    not_after: SystemTime,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// A certificate with its key, for a server of the control plane.
#[derive(Clone)]
pub struct ServerCertificate {
    pub(crate) key: PKey<Private>,
    /// Leaf first, root last: who pins the root finds it here.
    pub(crate) chain: Vec<X509>,
    pub(crate) not_after: SystemTime,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The names that the controller answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

/// The namespace of the control plane.
pub const CONTROLLER_NAMESPACE: &str = "culvert-system";
/// The service account of the controller.
pub const CONTROLLER_SERVICE_ACCOUNT: &str = "culvert-controller";

impl Root {
    /// Reads `DIR/root.key` and `DIR/root.pem`; makes both when neither exists.
    pub fn load_or_create(dir: &Path, trust_domain: TrustDomain) -> Result<Self, RootError> {
        let key_path = dir.join(KEY_FILE);
        let certificate_path = dir.join(CERTIFICATE_FILE);
        let bad = |why| RootError::Certificate {
            path: certificate_path.clone(),
            why,
        };
        let key_pem =
            file::load_or_create(&key_path, || csr::new_key()?.private_key_to_pem_pkcs8())?;
        let key = PKey::private_key_from_pem(&key_pem)?;
        if file::read(&certificate_path)?.is_none() {
            let certificate = issue::root(&key, &trust_domain, ROOT_LIFETIME)?;
            file::create(&certificate_path, &certificate.to_pem()?)?;
        }
        let pem = file::read(&certificate_path)?.ok_or_else(|| bad("it vanished"))?;
        let certificate =
            X509::from_pem(&pem).map_err(|_| bad("it holds no certificate in PEM"))?;
        if !certificate.public_key()?.public_eq(&key) {
            return Err(bad("it is not the certificate of the key beside it"));
        }
        let not_after = x509::system_time(certificate.not_after())?;
        Ok(Self {
            trust_domain,
            key,
            above: Vec::new(),
            roots: vec![certificate.clone()],
            certificate,
            not_after,
        })
    }

    /// The trust domain of what this root signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Signs a request for `id`. Only the request's public key counts. The answer is PEM, leaf first, root last.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        ttl: Duration,
    ) -> Result<Vec<String>, RootError> {
        let public_key = csr::public_key(csr_pem)?;
        let leaf = issue::Leaf {
            public_key: &public_key,
            spiffe: id,
            dns: &[],
            ips: &[],
            ttl,
        };
        let leaf = issue::leaf(self, &leaf)?;
        let chain = [&leaf, &self.certificate].into_iter().chain(&self.above);
        Ok(chain
            .map(|certificate| x509::pem(certificate))
            .collect::<Result<_, _>>()?)
    }

    /// A new key and certificate for the controller's own servers.
    pub fn sign_server(
        &self,
        names: &ServerNames,
        ttl: Duration,
    ) -> Result<ServerCertificate, RootError> {
        let key = csr::new_key()?;
        let public_key = csr::public_half(&key)?;
        let spiffe = SpiffeId::new(
            &self.trust_domain,
            CONTROLLER_NAMESPACE,
            CONTROLLER_SERVICE_ACCOUNT,
        )
        .map_err(csr::CsrError::from)?;
        let leaf = issue::Leaf {
            public_key: &public_key,
            spiffe: &spiffe,
            dns: &names.dns,
            ips: &names.ips,
            ttl,
        };
        let leaf = issue::leaf(self, &leaf)?;
        let not_after = x509::system_time(leaf.not_after())?;
        Ok(ServerCertificate {
            key,
            chain: [leaf, self.certificate.clone()]
                .into_iter()
                .chain(self.above.iter().cloned())
                .collect(),
            not_after,
        })
    }

    /// The certificates that everybody trusts, PEM, one an element.
    pub fn roots_pem(&self) -> Result<Vec<String>, RootError> {
        Ok(self
            .roots
            .iter()
            .map(|root| x509::pem(root))
            .collect::<Result<_, _>>()?)
    }

    /// SHA-256 of the root certificate's DER in lower-case hexadecimal, as join tokens carry it.
    pub fn root_hash(&self) -> Result<String, RootError> {
        Ok(x509::hex(&boring::sha::sha256(&self.roots[0].to_der()?)))
    }
}

#[cfg(test)]
mod tests;
