//! Secrets of type `kubernetes.io/tls`.
//!
//! Invariant: no message repeats anything of what a Secret holds.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::pkey::PKey;
use boring::x509::X509;
use serde_json::Value;

use super::{made, meta};
use crate::model::{KeyPair, Kind, Obj, TlsSecret};
use crate::path::{FieldPath, Issue, Issues};

/// The type of Secrets that are read.
pub(crate) const TYPE: &str = "kubernetes.io/tls";
/// The entries that are read.
pub(crate) const ENTRIES: [&str; 2] = ["tls.crt", "tls.key"];

/// That what a Secret holds is no good is said where it is used.
pub(super) fn admit(value: &Value) -> Result<Arc<Obj<TlsSecret>>, Vec<Issue>> {
    let mut issues = Issues::default();
    let meta = meta::read(Kind::Secret, value, &mut issues)?;
    if value["type"] != TYPE {
        issues.add(FieldPath::of("type"), format!("only {TYPE} is read"));
    }
    let (pair, problem) = match pair(value) {
        Ok(pair) => (Some(pair), None),
        Err(problem) => (None, Some(problem)),
    };
    made(meta, TlsSecret { pair, problem }, issues)
}

fn pair(value: &Value) -> Result<KeyPair, String> {
    let [chain, key] = ENTRIES.map(|name| entry(value, name));
    let (chain, key) = (chain?, key?);
    let certificates = X509::stack_from_pem(chain.as_bytes()).unwrap_or_default();
    let leaf = certificates
        .first()
        .ok_or("tls.crt holds no certificate in PEM")?;
    let private = PKey::private_key_from_pem(key.as_bytes());
    let private = private.map_err(|_| "tls.key is no private key in PEM")?;
    let public = leaf.public_key();
    if !public.is_ok_and(|public| public.public_eq(&private)) {
        return Err("tls.key is not the key of the first certificate of tls.crt".into());
    }
    Ok(KeyPair {
        chain: chain.into(),
        key: key.into(),
    })
}

/// As it stands in `stringData`, or else in base64 in `data`.
fn entry(value: &Value, name: &str) -> Result<String, String> {
    if let Some(text) = value["stringData"][name].as_str() {
        return Ok(text.to_owned());
    }
    let encoded = value["data"][name].as_str();
    let mut encoded = encoded
        .ok_or_else(|| format!("{name} is missing"))?
        .to_owned();
    encoded.retain(|c| !c.is_ascii_whitespace());
    let bytes = STANDARD.decode(encoded);
    let bytes = bytes.map_err(|_| format!("{name} is no base64"))?;
    String::from_utf8(bytes).map_err(|_| format!("{name} is no PEM"))
}

#[cfg(test)]
mod tests;
