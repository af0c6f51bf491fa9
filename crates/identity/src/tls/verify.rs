//! Verification of the peer's certificate, and what it came to.
//!
//! Invariant: BoringSSL's own verification (chain, signatures, validity, extended key usage for this side) runs first;
//! ours can only refuse more. The result is kept with the session, so that no error is told apart by its text.

use super::TlsError;
use crate::ca::{CONTROLLER_NAMESPACE, CONTROLLER_SERVICE_ACCOUNT};
use crate::{SpiffeId, x509};
use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::sha::sha256;
use boring::ssl::{Ssl, SslContext, SslRef};
use boring::x509::store::X509StoreBuilder;
use boring::x509::{X509StoreContext, X509StoreContextRef, X509VerifyError};
use std::fmt;
use std::sync::{LazyLock, OnceLock};
use tokio_boring::HandshakeError;

/// Certificates between a leaf and its root.
pub(super) const MAX_DEPTH: u32 = 4;
/// Bytes of all certificates that a peer shows. Ours has less than 1 KB; plugged-in chains have a few.
const MAX_CHAIN_BYTES: usize = 32 * 1024;
/// `SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE` of BoringSSL.
const NO_CERTIFICATE: i32 = 192;

/// What one session expects and what came of it.
struct Verification {
    /// Of whom the peer must be one; `None` accepts everybody of our own trust domain.
    expected: Option<Box<[SpiffeId]>>,
    outcome: OnceLock<Result<SpiffeId, TlsError>>,
}

static VERIFICATION: LazyLock<Result<Index<Ssl, Verification>, ErrorStack>> =
    LazyLock::new(Ssl::new_ex_index);

fn index() -> Result<Index<Ssl, Verification>, ErrorStack> {
    VERIFICATION.clone()
}

/// A session that accepts only `expected`.
pub(crate) fn session(
    context: &SslContext,
    expected: Option<Box<[SpiffeId]>>,
) -> Result<Ssl, ErrorStack> {
    let index = index()?;
    let mut ssl = Ssl::new(context)?;
    ssl.set_ex_data(
        index,
        Verification {
            expected,
            outcome: OnceLock::new(),
        },
    );
    Ok(ssl)
}

/// The callback of BoringSSL between workloads: whether the peer is accepted.
pub(super) fn peer(context: &mut X509StoreContextRef, own: &SpiffeId) -> bool {
    let result = bounded(context)
        .and_then(|()| verified(context))
        .and_then(|()| identity(context));
    record(context, |expected| {
        result.and_then(|peer| permitted(peer, expected, own))
    })
}

/// The callback of BoringSSL towards the controller: its chain must end in the root of this SHA-256, and its leaf must
/// be the controller's own, since workloads' certificates lead to the same root.
pub(crate) fn controller(context: &mut X509StoreContextRef, root_hash: &[u8]) -> bool {
    let result = bounded(context)
        .and_then(|()| pinned(context, root_hash))
        .and_then(|()| {
            let peer = identity(context)?;
            let is_controller = peer.namespace() == CONTROLLER_NAMESPACE
                && peer.service_account() == CONTROLLER_SERVICE_ACCOUNT;
            if is_controller {
                Ok(peer)
            } else {
                Err(TlsError::UnexpectedIdentity { peer })
            }
        });
    record(context, |_| result)
}

fn record(
    context: &mut X509StoreContextRef,
    decide: impl FnOnce(Option<&[SpiffeId]>) -> Result<SpiffeId, TlsError>,
) -> bool {
    let verification = (|| {
        let ssl = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
        ssl.ex_data(index().ok()?)
    })();
    let accepted = verification.is_some_and(|verification| {
        let result = decide(verification.expected.as_deref());
        let accepted = result.is_ok();
        // Set twice only if BoringSSL verified twice in one session; the first result then stands.
        accepted & verification.outcome.set(result).is_ok()
    });
    if !accepted && context.verify_result().is_ok() {
        context.set_error(Err(X509VerifyError::APPLICATION_VERIFICATION));
    }
    accepted
}

fn bounded(context: &X509StoreContextRef) -> Result<(), TlsError> {
    let mut size = 0;
    for certificate in context.untrusted().into_iter().flatten() {
        size += certificate.to_der()?.len();
    }
    if size > MAX_CHAIN_BYTES {
        return Err(TlsError::Malformed(format!(
            "its chain has {size} bytes, over {MAX_CHAIN_BYTES}"
        )));
    }
    Ok(())
}

fn verified(context: &mut X509StoreContextRef) -> Result<(), TlsError> {
    if context.verify_cert()? {
        return Ok(());
    }
    Err(match context.verify_result() {
        Err(X509VerifyError::CERT_HAS_EXPIRED) => TlsError::Expired,
        Err(X509VerifyError::CERT_NOT_YET_VALID) => TlsError::NotYetValid,
        Err(X509VerifyError::INVALID_PURPOSE) => TlsError::WrongPurpose,
        Err(error) => TlsError::Untrusted(error.error_string().to_owned()),
        Ok(()) => TlsError::Untrusted("verification failed".to_owned()),
    })
}

fn pinned(context: &X509StoreContextRef, root_hash: &[u8]) -> Result<(), TlsError> {
    let (Some(leaf), Some(chain)) = (context.cert(), context.untrusted()) else {
        return Err(TlsError::NoCertificate);
    };
    let mut store = X509StoreBuilder::new()?;
    let mut found = false;
    for certificate in chain {
        if sha256(&certificate.to_der()?) == root_hash {
            store.add_cert(certificate)?;
            found = true;
        }
    }
    if !found {
        return Err(TlsError::Untrusted(
            "its chain lacks the root that the join token names".to_owned(),
        ));
    }
    X509StoreContext::new()?.init(&store.build(), leaf, chain, |context| Ok(verified(context)))?
}

fn identity(context: &X509StoreContextRef) -> Result<SpiffeId, TlsError> {
    let certificate = context.cert().ok_or(TlsError::NoCertificate)?;
    x509::spiffe_id(certificate).map_err(|error| TlsError::Malformed(error.to_string()))
}

fn permitted(
    peer: SpiffeId,
    expected: Option<&[SpiffeId]>,
    own: &SpiffeId,
) -> Result<SpiffeId, TlsError> {
    match expected {
        Some(ids) if !ids.contains(&peer) => Err(TlsError::UnexpectedIdentity { peer }),
        None if peer.trust_domain() != own.trust_domain() => Err(TlsError::TrustDomain {
            peer,
            own: own.trust_domain().to_owned(),
        }),
        _ => Ok(peer),
    }
}

/// What verification said in this session; `None` when it never ran.
pub(super) fn outcome(ssl: &SslRef) -> Option<Result<SpiffeId, TlsError>> {
    ssl.ex_data(index().ok()?)?.outcome.get().cloned()
}

/// Why a handshake failed.
pub(crate) fn failure<IO: fmt::Debug>(error: &HandshakeError<IO>) -> TlsError {
    if let Some(Err(error)) = error.ssl().and_then(outcome) {
        return error;
    }
    let stack = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<boring::ssl::Error>())
        .and_then(boring::ssl::Error::ssl_error);
    if stack.is_some_and(|s| s.errors().iter().any(|e| e.reason_code() == NO_CERTIFICATE)) {
        return TlsError::NoCertificate;
    }
    TlsError::Handshake(match error.as_io_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    })
}
