//! A certificate with its key, as a Secret of type `kubernetes.io/tls` has them.
//!
//! Invariant: the key is in no text that is made for people or programs to look at.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What counts of such a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TlsSecret {
    /// The last good pair. None: there was never one.
    pub pair: Option<KeyPair>,
    /// What is wrong with what the Secret holds now.
    pub problem: Option<String>,
}

/// A certificate and its key, which fit.
#[derive(Clone, PartialEq)]
pub struct KeyPair {
    /// PEM, leaf first.
    pub chain: Arc<str>,
    /// PEM.
    pub key: Arc<str>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

impl Serialize for KeyPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("a certificate and its key, which is not shown")
    }
}
