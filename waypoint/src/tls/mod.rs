//! TLS with those outside the mesh's own mutual TLS: clients of listeners, and applications behind policies.
//!
//! Invariants: TLS 1.2 at least. No session is resumed, so that every connection is judged by what is in force when it is
//! made, and there is no ticket key to lose.

pub mod client;
pub mod names;
mod system;
mod verify;

use boring::error::ErrorStack;
use boring::ssl::{
    SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVersion,
};

/// Key agreement: the post-quantum one first.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256";
/// For TLS 1.2: forward secrecy and authenticated encryption, nothing else. TLS 1.3 has no other ones.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/// What all contexts share, of servers and of clients.
pub(crate) fn base() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_strict_cipher_list(CIPHERS)?;
    builder.set_curves_list(GROUPS)?;
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    Ok(builder)
}
