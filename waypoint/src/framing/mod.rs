//! Where one HTTP/1 request ends and the next begins, read strictly, ahead of the HTTP library.
//!
//! Invariant: bytes that two readers could split into requests differently never get past this point. Refused are a
//! length beside a transfer coding, repeated lengths, codings other than one `chunked`, folded lines, lines without
//! CR, blanks before a colon, and everything in chunked bodies that is not plainly a chunk.

mod ahead;
mod chunked;
mod guard;
mod head;

use chunked::{Chunked, Step};
use head::{Body, Head};

pub use ahead::Watched;
pub use guard::{Guard, Switch};

/// Most bytes of one line, and of all lines of a head. The HTTP library's own, lower limit answers 431 before.
const MAX_HEAD: usize = 256 * 1024;
/// Empty lines that are tolerated between requests, as old clients send after a body.
const MAX_BLANK: usize = 4;

/// Why bytes can't be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A line ends without CR, or holds a CR or NUL elsewhere.
    #[error("a line is not ended by CR LF alone")]
    LineEnd,
    /// The request line is not METHOD SP TARGET SP HTTP/1.x, or its method is CONNECT.
    #[error("malformed request line")]
    RequestLine,
    /// A header line is not NAME ":" VALUE, or continues the one before.
    #[error("malformed header line")]
    HeaderLine,
    /// Not one decimal `Content-Length`.
    #[error("malformed or repeated Content-Length")]
    ContentLength,
    /// Not one `Transfer-Encoding: chunked` in HTTP/1.1.
    #[error("Transfer-Encoding other than one `chunked` of HTTP/1.1")]
    TransferEncoding,
    /// Both of them.
    #[error("Content-Length beside Transfer-Encoding")]
    BothLengths,
    /// Not a chunk.
    #[error("malformed chunk")]
    Chunk,
    /// Too many bytes in a head, a line or trailers.
    #[error("a head or line is too long")]
    TooLong,
}

/// How far a run of bytes was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How many bytes belong to requests.
    pub bytes: usize,
    /// The rest comes after a request to change the protocol and is no request until that is refused.
    pub switch: bool,
}

/// What can't be framed, and how much before it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Bytes before the line that is wrong.
    pub bytes: usize,
    /// What is wrong.
    pub violation: Violation,
    /// Whether it is in a head; otherwise in a body.
    pub in_head: bool,
}

/// The state of one connection's inbound bytes.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// Bytes of a line whose end has not come yet.
    line: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Idle { blank: usize },
    Head(Head),
    Length(u64),
    Chunked(Chunked),
    Switching,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            state: State::Idle { blank: 0 },
            line: Vec::new(),
        }
    }
}

impl Framing {
    /// Whether a head has begun and not ended.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
            || !self.line.is_empty() && matches!(self.state, State::Idle { .. })
    }

    /// Takes the next bytes of the connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Accepted, Refused> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let in_head = matches!(self.state, State::Idle { .. } | State::Head(_));
            let step = match &mut self.state {
                State::Switching => {
                    return Ok(Accepted {
                        bytes: at,
                        switch: true,
                    });
                }
                State::Length(left) => Ok(skip(left, rest)),
                State::Chunked(chunked) => {
                    chunked.skip_data(rest).map_or_else(|| self.line(rest), Ok)
                }
                State::Idle { .. } | State::Head(_) => self.line(rest),
            };
            at += step.map_err(|violation| Refused {
                bytes: at,
                violation,
                in_head,
            })?;
            if matches!(self.state, State::Length(0)) {
                self.state = State::Idle { blank: 0 };
            }
        }
        let switch = matches!(self.state, State::Switching);
        Ok(Accepted { bytes: at, switch })
    }

    /// Takes one line or the beginning of one, and returns how many bytes it took.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            if self.line.len() + rest.len() > MAX_HEAD {
                return Err(Violation::TooLong);
            }
            self.line.extend_from_slice(rest);
            return Ok(rest.len());
        };
        let taken = end + 1;
        let whole = rest.get(..taken).unwrap_or_default();
        if self.line.is_empty() {
            self.complete(whole)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(whole);
            self.complete(&line)?;
        }
        Ok(taken)
    }

    fn complete(&mut self, line: &[u8]) -> Result<(), Violation> {
        let line = line.strip_suffix(b"\r\n").ok_or(Violation::LineEnd)?;
        if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(Violation::LineEnd);
        }
        let next = match &mut self.state {
            State::Idle { blank } if line.is_empty() => {
                *blank += 1;
                if *blank > MAX_BLANK {
                    Err(Violation::RequestLine)
                } else {
                    Ok(None)
                }
            }
            State::Idle { .. } => Head::request_line(line).map(|head| Some(State::Head(head))),
            State::Head(head) if line.is_empty() => Ok(Some(match head.body()? {
                Body::Length(length) => State::Length(length),
                Body::Chunked => State::Chunked(Chunked::default()),
                Body::Switch => State::Switching,
            })),
            State::Head(head) => head.header_line(line, MAX_HEAD).map(|()| None),
            State::Chunked(chunked) => chunked.line(line).map(|step| match step {
                Step::More => None,
                Step::End => Some(State::Idle { blank: 0 }),
            }),
            State::Length(_) | State::Switching => Ok(None),
        };
        if let Some(state) = next? {
            self.state = state;
        }
        Ok(())
    }
}

/// Takes as much of `rest` as is left of a body.
fn skip(left: &mut u64, rest: &[u8]) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests;
