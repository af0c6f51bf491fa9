//! A resource's version as it is held for a reconnect: verbatim, in little memory.
//!
//! Invariant: what comes out is what went in, byte for byte, whatever the server takes for a version.

use std::fmt::{self, Write as _};

/// The bytes of a version that is a hash, as Culvert's controller makes them.
const HASH: usize = 12;

/// The version that the server gave a resource.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Version(Form);

/// Sixteen bytes, since there is one for each workload of the mesh.
#[derive(Clone, PartialEq, Eq, Default)]
enum Form {
    /// Istiod gives none.
    #[default]
    Empty,
    /// Written as 24 lower-case hexadecimal digits.
    Hash([u8; HASH]),
    /// Anything else.
    Text(Box<Box<str>>),
}

impl Version {
    /// How many bytes its text has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::Hash(_) => 2 * HASH,
            Form::Text(text) => text.len(),
        }
    }

    /// Whether the server gave none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Self(match hash(text) {
            _ if text.is_empty() => Form::Empty,
            Some(hash) => Form::Hash(hash),
            None => Form::Text(Box::new(text.into())),
        })
    }
}

/// What a text stands for that has just the digits of a hash.
fn hash(text: &str) -> Option<[u8; HASH]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs = <&[[u8; 2]; HASH]>::try_from(pairs).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut hash = [0; HASH];
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Empty => Ok(()),
            Form::Hash(hash) => hash.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Form::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        fmt::Display::fmt(self, f)?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in() {
        let hash = "0123456789abcdef00ff10f0";
        assert!(matches!(Version::from(hash).0, Form::Hash(_)));
        let upper = "0123456789ABCDEF00FF10F0";
        let odd = "0123456789abcdef00ff10f";
        for text in [
            "",
            "1",
            "2026-01-01T00:00:00Z/7",
            hash,
            upper,
            odd,
            "é".repeat(12).as_str(),
        ] {
            let version = Version::from(text);
            assert_eq!(version.to_string(), text);
            assert_eq!(
                (version.len(), version.is_empty()),
                (text.len(), text.is_empty())
            );
        }
        assert_ne!(Version::from(hash), Version::from(upper));
    }

    #[test]
    fn is_small() {
        assert_eq!(size_of::<Version>(), 16);
    }
}
