//! A chunked body.

use super::Violation;

/// Most bytes of a chunk's size with its extensions.
const MAX_SIZE_LINE: usize = 1024;
/// Most bytes of all trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    trailers: usize,
}

#[derive(Debug, Default)]
enum At {
    /// A line with a chunk's size.
    #[default]
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The empty line after a chunk.
    DataEnd,
    /// Trailers, ended by an empty line.
    Trailers,
}

/// What a line did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    End,
}

impl Chunked {
    /// Takes data of a chunk, if that is what comes.
    pub(super) fn skip_data(&mut self, rest: &[u8]) -> Option<usize> {
        let At::Data(left) = &mut self.at else {
            return None;
        };
        let taken = super::skip(left, rest);
        if *left == 0 {
            self.at = At::DataEnd;
        }
        Some(taken)
    }

    /// Takes a line without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Step, Violation> {
        match self.at {
            At::Size => {
                self.at = match size(line)? {
                    0 => At::Trailers,
                    size => At::Data(size),
                };
            }
            At::DataEnd if line.is_empty() => self.at = At::Size,
            At::DataEnd | At::Data(_) => return Err(Violation::Chunk),
            At::Trailers if line.is_empty() => return Ok(Step::End),
            At::Trailers => {
                self.trailers += line.len();
                if self.trailers > MAX_TRAILERS {
                    return Err(Violation::TooLong);
                }
                let name = line
                    .iter()
                    .position(|byte| *byte == b':')
                    .and_then(|colon| line.get(..colon));
                if !name
                    .is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic))
                {
                    return Err(Violation::HeaderLine);
                }
            }
        }
        Ok(Step::More)
    }
}

/// Reads HEX [";" EXTENSIONS].
fn size(line: &[u8]) -> Result<u64, Violation> {
    if line.len() > MAX_SIZE_LINE {
        return Err(Violation::TooLong);
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let plain = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let extensions = line.get(digits.len()..).unwrap_or_default();
    if !plain
        || extensions
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(Violation::Chunk);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(Violation::Chunk)
}
