//! Verification of an application's certificate, and what did not fit.
//!
//! Invariant: BoringSSL's own verification (chain, signatures, validity, usage by a server) runs first; ours can only
//! refuse more. Both run before the handshake ends, so that nothing is sent to whom it is not for. The result is kept with
//! the session, so that no failure is told apart by its text.

use std::sync::{LazyLock, OnceLock};

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{Ssl, SslContext, SslRef};
use boring::x509::{X509StoreContext, X509StoreContextRef, X509VerifyError};

use super::names::{self, Name};

/// Certificates between a leaf and its authority.
pub(super) const MAX_DEPTH: u32 = 8;
/// Bytes of all certificates that a server shows.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No authority that is trusted stands above it, or it is no server's.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(String),
    /// It, or one above it, has ended or has not begun.
    #[error("its certificate is out of date: {0}")]
    OutOfDate(String),
    /// It is for others.
    #[error("its certificate has none of the names that are asked for; it has {0}")]
    Name(String),
}

type Outcome = OnceLock<Unfit>;

static OUTCOME: LazyLock<Result<Index<Ssl, Outcome>, ErrorStack>> =
    LazyLock::new(Ssl::new_ex_index);

/// A session that keeps what did not fit.
pub(super) fn session(context: &SslContext) -> Result<Ssl, ErrorStack> {
    let index = OUTCOME.clone()?;
    let mut ssl = Ssl::new(context)?;
    ssl.set_ex_data(index, Outcome::new());
    Ok(ssl)
}

/// What did not fit in this session, if that was verification's to say.
pub(super) fn outcome(ssl: &SslRef) -> Option<Unfit> {
    let index = OUTCOME.clone().ok()?;
    ssl.ex_data(index)?.get().cloned()
}

/// The callback of BoringSSL: whether the certificate is trusted and has one of these names.
pub(super) fn check(context: &mut X509StoreContextRef, wanted: &[Name]) -> bool {
    let Err(unfit) = judge(context, wanted) else {
        return true;
    };
    let kept = (|| {
        let ssl = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
        ssl.ex_data(OUTCOME.clone().ok()?)
    })();
    if let Some(kept) = kept {
        // The first word stands.
        let _ = kept.set(unfit);
    }
    if context.verify_result().is_ok() {
        context.set_error(Err(X509VerifyError::APPLICATION_VERIFICATION));
    }
    false
}

fn judge(context: &mut X509StoreContextRef, wanted: &[Name]) -> Result<(), Unfit> {
    let failed = |error: ErrorStack| Unfit::Untrusted(error.to_string());
    let mut size = 0;
    for certificate in context.untrusted().into_iter().flatten() {
        size += certificate.to_der().map_err(failed)?.len();
    }
    if size > MAX_CHAIN_BYTES {
        return Err(Unfit::Untrusted(format!("its chain has {size} bytes")));
    }
    if !context.verify_cert().map_err(failed)? {
        return Err(match context.verify_result() {
            Err(
                error @ (X509VerifyError::CERT_HAS_EXPIRED | X509VerifyError::CERT_NOT_YET_VALID),
            ) => Unfit::OutOfDate(error.error_string().to_owned()),
            Err(error) => Unfit::Untrusted(error.error_string().to_owned()),
            Ok(()) => Unfit::Untrusted("verification failed".to_owned()),
        });
    }
    match context.cert() {
        Some(leaf) if names::has_one(leaf, wanted) => Ok(()),
        Some(leaf) => Err(Unfit::Name(names::listed(leaf))),
        None => Err(Unfit::Untrusted("there is none".to_owned())),
    }
}
