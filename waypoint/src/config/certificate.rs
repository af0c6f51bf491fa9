//! What a listener proves itself with, or a gateway to its backends.
//!
//! Invariants: a certificate that is taken can serve: its chain and its key were read, belong together and made TLS
//! contexts. The contexts are made here, once for each generation, and never for a connection. The key lives in
//! BoringSSL alone; no text of ours shows it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::ssl::{AlpnError, SslContext, SslContextBuilder, select_next_proto};
use boring::x509::X509;
use culvert_proto::waypoint as pb;

use super::ConfigError;
use super::route::Hostname;
use crate::tls::{self, names};

/// What is offered to clients of HTTPS, in the order of preference.
const ALPN: &[u8] = b"\x02h2\x08http/1.1";

/// A certificate that can serve.
pub struct Certificate {
    /// Names that it is for. Of one that names nothing we could read, none.
    hosts: Vec<Hostname>,
    /// When it ends.
    pub not_after: SystemTime,
    /// Its serial number in hexadecimal.
    pub serial: String,
    https: SslContext,
    plain: SslContext,
    pair: Pair,
}

/// A chain, leaf first, and the key of its leaf.
struct Pair {
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("hosts", &self.hosts)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads chain and key. Whatever is wrong with the key is said without a word of it.
    pub fn decode(raw: &pb::Certificate) -> Result<Self, ConfigError> {
        let wrong = |field: &str| {
            let field = field.to_owned();
            move |error: ErrorStack| ConfigError::new(field, brief(&error))
        };
        let chain = X509::stack_from_pem(raw.chain.as_bytes()).map_err(wrong("chain"))?;
        let leaf = chain
            .first()
            .ok_or_else(|| ConfigError::new("chain", "holds no certificate"))?;
        let key = PKey::private_key_from_pem(raw.key.as_bytes())
            .map_err(|_| ConfigError::new("key", "is not a private key in PEM"))?;
        let public = leaf.public_key().map_err(wrong("chain"))?;
        if !public.public_eq(&key) {
            return Err(ConfigError::new(
                "key",
                "does not belong to the first certificate",
            ));
        }
        let not_after = culvert_identity::system_time(leaf.not_after()).map_err(wrong("chain"))?;
        let hosts = names::hosts(leaf);
        let serial = leaf
            .serial_number()
            .to_bn()
            .and_then(|n| n.to_hex_str().map(|s| s.to_lowercase()));
        let serial = serial.map_err(wrong("chain"))?;
        let pair = Pair { chain, key };
        let context = |http| pair.context(http).map_err(wrong("chain"));
        Ok(Self {
            hosts,
            not_after,
            serial,
            https: context(true)?,
            plain: context(false)?,
            pair,
        })
    }

    /// The context that offers HTTP.
    pub fn https(&self) -> &SslContext {
        &self.https
    }

    /// The context that leaves open what is in it.
    pub fn plain(&self) -> &SslContext {
        &self.plain
    }

    /// Makes the contexts of `builder` prove themselves with it.
    pub fn present(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        self.pair.present(builder)
    }

    /// Whether it is for this name.
    fn covers(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| names::covers(host, name))
    }

    /// The first of `all` that is for this name, else the first.
    pub fn choose<'a>(all: &'a [Arc<Self>], name: Option<&str>) -> Option<&'a Arc<Self>> {
        let fitting = |name| all.iter().find(|certificate| certificate.covers(name));
        name.and_then(fitting).or(all.first())
    }
}

/// The first reason alone: BoringSSL's whole text names its source files.
pub(super) fn brief(error: &ErrorStack) -> String {
    let first = error.errors().first();
    let reason = first.and_then(|error| error.reason().map(str::to_owned));
    reason.map_or_else(
        || "is not in PEM".to_owned(),
        |r| r.to_lowercase().replace('_', " "),
    )
}

impl Pair {
    fn present(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let mut chain = self.chain.iter();
        if let Some(leaf) = chain.next() {
            builder.set_certificate(leaf)?;
        }
        for above in chain {
            builder.add_extra_chain_cert(above.clone())?;
        }
        builder.set_private_key(&self.key)?;
        builder.check_private_key()
    }

    fn context(&self, http: bool) -> Result<SslContext, ErrorStack> {
        let mut builder = tls::base()?;
        self.present(&mut builder)?;
        if http {
            builder.set_alpn_select_callback(|_, offered| {
                select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        Ok(builder.build())
    }
}

#[cfg(test)]
#[path = "../../tests/waypoint/certificates.rs"]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
