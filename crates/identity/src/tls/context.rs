//! The settings of every TLS context of this process.
//!
//! Invariant: TLS 1.3 only, the post-quantum group first, no session ticket and no cached session, so that each
//! connection proves both identities anew. BoringSSL itself puts AES-128-GCM first where the processor has AES.

use super::verify;
use crate::SpiffeId;
use boring::error::ErrorStack;
use boring::pkey::{PKeyRef, Private};
use boring::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion, select_next_proto,
};
use boring::x509::store::X509StoreBuilder;
use boring::x509::{X509, X509Ref};

/// The protocol list of ALPN that holds `h2` alone.
pub(crate) const ALPN_H2: &[u8] = b"\x02h2";
const GROUPS: &str = "X25519MLKEM768:X25519";

/// What the contexts of one identity are made of.
pub(crate) struct Credentials<'a> {
    pub(crate) id: &'a SpiffeId,
    pub(crate) key: &'a PKeyRef<Private>,
    /// Leaf first.
    pub(crate) chain: &'a [X509],
    pub(crate) roots: &'a [X509],
}

/// What all contexts share.
pub(crate) fn base() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_curves_list(GROUPS)?;
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    Ok(builder)
}

/// Makes the builder present this certificate.
pub(crate) fn present(
    builder: &mut SslContextBuilder,
    key: &PKeyRef<Private>,
    chain: &[X509],
    with_root: bool,
) -> Result<(), ErrorStack> {
    let Some((leaf, rest)) = chain.split_first() else {
        return Err(ErrorStack::get());
    };
    builder.set_certificate(leaf)?;
    for certificate in rest.iter().filter(|c| with_root || !self_issued(c)) {
        builder.add_extra_chain_cert(certificate.clone())?;
    }
    builder.set_private_key(key)?;
    builder.check_private_key()
}

/// Makes the builder select `h2`, and refuse a client that offers other protocols only.
pub(crate) fn require_h2(builder: &mut SslContextBuilder) {
    builder.set_alpn_select_callback(|_, offered| {
        // The selection borrows from the first argument of select_next_proto: find it in what was offered.
        select_next_proto(ALPN_H2, offered)
            .map(|_| &b"h2"[..])
            .ok_or(AlpnError::ALERT_FATAL)
    });
}

pub(super) fn server(credentials: &Credentials<'_>) -> Result<SslContext, ErrorStack> {
    let mut builder = mutual(credentials)?;
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let own = credentials.id.clone();
    builder.set_cert_verify_callback(move |context| verify::peer(context, &own));
    require_h2(&mut builder);
    Ok(builder.build())
}

pub(super) fn client(credentials: &Credentials<'_>) -> Result<SslContext, ErrorStack> {
    let mut builder = mutual(credentials)?;
    builder.set_verify(SslVerifyMode::PEER);
    let own = credentials.id.clone();
    builder.set_cert_verify_callback(move |context| verify::peer(context, &own));
    builder.set_alpn_protos(ALPN_H2)?;
    Ok(builder.build())
}

fn mutual(credentials: &Credentials<'_>) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = base()?;
    present(&mut builder, credentials.key, credentials.chain, false)?;
    let mut store = X509StoreBuilder::new()?;
    for root in credentials.roots {
        store.add_cert(root)?;
    }
    builder.set_cert_store_builder(store);
    builder.set_verify_depth(verify::MAX_DEPTH);
    Ok(builder)
}

fn self_issued(certificate: &X509Ref) -> bool {
    certificate.issued(certificate).is_ok()
}
