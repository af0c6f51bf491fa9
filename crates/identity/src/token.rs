//! Join tokens of a standalone mesh: what one node or waypoint shows to the controller.
//!
//! A token is `base64url(body) "." base64url(HMAC-SHA256(key, first part))`. Invariants: [`TokenKey::verify`] alone
//! turns a token into [`Claims`]; neither a key nor a token ever appears in a Debug text.

use crate::file;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use boring::hash::hmac_sha256;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// Longer texts are not looked at.
const MAX_TOKEN: usize = 4096;
const KEY_FILE: &str = "token.key";
const KEY_BYTES: usize = 32;

/// Why a token isn't accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not of the form that [`TokenKey::mint`] gives.
    #[error("the join token is malformed")]
    Malformed,
    /// Not minted with this key.
    #[error("the join token's signature is wrong")]
    Signature,
    /// The key file can't be read or written.
    #[error("token key: {0}")]
    File(#[from] file::SecretFileError),
    /// The cryptographic library failed.
    #[error("token: {0}")]
    Crypto(#[from] boring::error::ErrorStack),
}

/// What a token's holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// The agent and the ztunnel of one node.
    Node,
    /// One waypoint, named `NAMESPACE/NAME`.
    Waypoint,
}

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claims {
    /// Node or waypoint.
    pub kind: TokenKind,
    /// The node's name, or `NAMESPACE/NAME` of the waypoint.
    pub name: String,
}

/// A token's readable half. Its holder uses it to know the controller; nothing in it proves anything to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Node or waypoint.
    pub kind: TokenKind,
    /// As [`Claims::name`].
    pub name: String,
    /// SHA-256 of the root certificate's DER, in lower-case hexadecimal.
    pub root: String,
}

impl TokenBody {
    /// The pinned hash in binary.
    pub(crate) fn root_hash(&self) -> Result<[u8; 32], TokenError> {
        let mut hash = [0; 32];
        let digits = self.root.as_bytes();
        if digits.len() != 64 {
            return Err(TokenError::Malformed);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(TokenError::Malformed),
            };
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(hash)
    }
}

/// Reads the body without checking the signature, as a holder without the key does.
pub fn parse_unverified(token: &str) -> Result<TokenBody, TokenError> {
    let (body, _) = split(token.trim())?;
    let json = BASE64.decode(body).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn split(token: &str) -> Result<(&str, &str), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    token.split_once('.').ok_or(TokenError::Malformed)
}

/// The controller's key for tokens.
#[derive(Clone)]
pub struct TokenKey([u8; KEY_BYTES]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    /// Reads `DIR/token.key`, made with mode 0600 when missing.
    pub fn load_or_create(dir: &Path) -> Result<Self, TokenError> {
        let bytes = file::load_or_create(&dir.join(KEY_FILE), || {
            let mut key = vec![0; KEY_BYTES];
            boring::rand::rand_bytes(&mut key)?;
            Ok(key)
        })?;
        let key =
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| TokenError::Malformed)?;
        Ok(Self(key))
    }

    /// A token for `name` that pins the root certificate of that hash ([`crate::ca::Root::root_hash`]).
    pub fn mint(&self, kind: TokenKind, name: &str, root_hash: &str) -> Result<String, TokenError> {
        let body = TokenBody {
            kind,
            name: name.to_owned(),
            root: root_hash.to_owned(),
        };
        let json = serde_json::to_vec(&body).map_err(|_| TokenError::Malformed)?;
        let mut token = BASE64.encode(json);
        let mac = hmac_sha256(&self.0, token.as_bytes())?;
        token.push('.');
        token.push_str(&BASE64.encode(mac));
        Ok(token)
    }

    /// Who the holder of this token is.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let (body, mac) = split(token)?;
        let mac = BASE64.decode(mac).map_err(|_| TokenError::Malformed)?;
        let expected = hmac_sha256(&self.0, body.as_bytes())?;
        if mac.len() != expected.len() || !boring::memcmp::eq(&mac, &expected) {
            return Err(TokenError::Signature);
        }
        let TokenBody { kind, name, .. } = parse_unverified(token)?;
        Ok(Claims { kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> TokenKey {
        TokenKey([fill; KEY_BYTES])
    }

    #[test]
    fn round_trip() {
        let token = key(1)
            .mint(TokenKind::Waypoint, "shop/gate", "ab12")
            .unwrap();
        let claims = Claims {
            kind: TokenKind::Waypoint,
            name: "shop/gate".into(),
        };
        assert_eq!(key(1).verify(&token).unwrap(), claims);
        assert_eq!(parse_unverified(&token).unwrap().root, "ab12");
    }

    #[test]
    fn another_key_or_another_body_is_refused() {
        let token = key(1).mint(TokenKind::Node, "n1", "ab").unwrap();
        assert!(matches!(key(2).verify(&token), Err(TokenError::Signature)));
        let other = key(1).mint(TokenKind::Node, "n2", "ab").unwrap();
        let forged = format!(
            "{}.{}",
            other.split_once('.').unwrap().0,
            token.split_once('.').unwrap().1
        );
        assert!(matches!(key(1).verify(&forged), Err(TokenError::Signature)));
    }

    #[test]
    fn malformed() {
        for token in [
            "",
            ".",
            "a",
            "a.b",
            "a.b.c",
            &format!("{}.x", "A".repeat(MAX_TOKEN)),
        ] {
            assert!(key(1).verify(token).is_err(), "{token}");
        }
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", key(7)), "TokenKey(..)");
    }
}
