//! Which paths are served: those that every reader splits and decodes alike.
//!
//! Invariant: a path is never rewritten to make it acceptable. What policy and matcher see is byte for byte what the
//! backend gets; what could be read in two ways is refused. `//`, `;` and `%2F` are kept as they are.

use crate::config::matcher::hex;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not absolute.
    #[error("the path does not start with `/`")]
    Relative,
    /// Control characters, spaces, bytes over 0x7e, `\`, `#`.
    #[error("the path holds a byte that must be percent-encoded")]
    Forbidden,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a malformed percent escape")]
    Escape,
    /// `%00`.
    #[error("the path holds an encoded NUL")]
    Nul,
    /// `.` or `..` as an element, encoded or not, with parameters or not.
    #[error("the path holds a dot segment")]
    DotSegment,
}

/// Accepts `path` (without query) or says why not.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let Some(elements) = path.strip_prefix('/') else {
        return Err(PathError::Relative);
    };
    check_bytes(path)?;
    if path.contains("/.") || path.contains('%') {
        return elements.split('/').try_for_each(check_element);
    }
    Ok(())
}

/// Accepts a query or says why not. Escapes are the backend's matter, except an encoded NUL.
pub fn check_query(query: &str) -> Result<(), PathError> {
    check_bytes(query)?;
    if query.contains("%00") {
        return Err(PathError::Nul);
    }
    Ok(())
}

fn check_bytes(text: &str) -> Result<(), PathError> {
    let forbidden = |byte: u8| !matches!(byte, 0x21..=0x7e) || matches!(byte, b'\\' | b'#');
    if text.bytes().any(forbidden) {
        Err(PathError::Forbidden)
    } else {
        Ok(())
    }
}

/// Refuses malformed escapes, an encoded NUL, and an element that is `.` or `..` to anybody who decodes it or cuts
/// its parameters off.
fn check_element(element: &str) -> Result<(), PathError> {
    let mut dots = 0;
    let mut only_dots = true;
    let mut rest = element.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if byte == b'%' {
            let [high, low, after @ ..] = tail else {
                return Err(PathError::Escape);
            };
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                return Err(PathError::Escape);
            };
            byte = high << 4 | low;
            rest = after;
        }
        match byte {
            0 => return Err(PathError::Nul),
            b'.' if only_dots => dots += 1,
            // Parameters, or a separator to some: what stands before is an element of its own.
            b';' | b'/' | b'\\' if only_dots && dots > 0 && dots <= 2 => {
                return Err(PathError::DotSegment);
            }
            b'/' | b'\\' => (dots, only_dots) = (0, true),
            _ => only_dots = false,
        }
    }
    if only_dots && (dots == 1 || dots == 2) {
        Err(PathError::DotSegment)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ambiguous_paths_are_refused() {
        use PathError::{DotSegment, Escape, Forbidden, Nul, Relative};
        for (path, error) in [
            ("", Relative),
            ("*", Relative),
            ("admin", Relative),
            ("/a b", Forbidden),
            ("/a#b", Forbidden),
            ("/a\\b", Forbidden),
            ("/a\u{e9}", Forbidden),
            ("/a\u{0}", Forbidden),
            ("/a%00b", Nul),
            ("/a%", Escape),
            ("/a%4", Escape),
            ("/a%zz", Escape),
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("/a/..;x/b", DotSegment),
            ("/a/..%2fb", DotSegment),
            ("/a%2f..%5cb", DotSegment),
            ("/a%2f%2e%2e", DotSegment),
        ] {
            assert_eq!(check_path(path), Err(error), "{path}");
        }
    }

    #[test]
    fn everything_else_is_kept() {
        for path in [
            "/",
            "//",
            "/a//b",
            "/a;x=1",
            "/a%2Fb",
            "/...",
            "/.well-known/x",
            "/a.b/..c",
            "/%2e%2e%2e",
            "/a/b%20c",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        assert_eq!(check_query("a=/../b&c=%zz"), Ok(()));
        assert_eq!(check_query("a=%00"), Err(PathError::Nul));
        assert_eq!(check_query("a=#"), Err(PathError::Forbidden));
    }

    /// Decodes fully, takes `\` for `/`, cuts parameters: the most permissive reader there could be.
    fn has_dot_segment(path: &str) -> bool {
        let bytes = path.as_bytes();
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'%' {
                decoded.push(u8::from_str_radix(&path[at + 1..at + 3], 16).unwrap());
                at += 3;
            } else {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
        decoded
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|element| {
                let name = element
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default();
                name == b"." || name == b".."
            })
    }

    proptest! {
        #[test]
        fn no_reader_finds_a_dot_segment_in_what_passes(path in "/(\\.|%2e|%2F|%5c|/|;|a|%3b){0,12}") {
            prop_assert_eq!(check_path(&path) == Err(PathError::DotSegment), has_dot_segment(&path));
        }
    }
}
