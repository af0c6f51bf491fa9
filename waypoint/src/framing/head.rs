//! The head of a request, as far as it decides where the request ends.

use super::Violation;

/// What is known of a head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    http_11: bool,
    length: Option<u64>,
    chunked: bool,
    connection_upgrade: bool,
    upgrade: bool,
    bytes: usize,
}

/// What follows the head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    /// Nothing, until the change of protocol was answered.
    Switch,
}

impl Head {
    /// Reads METHOD SP TARGET SP VERSION.
    pub(super) fn request_line(line: &[u8]) -> Result<Self, Violation> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Violation::RequestLine);
        };
        let visible = |byte: &u8| matches!(byte, 0x21..=0x7e) && *byte != b'#';
        let well_formed = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
        if !well_formed || method == b"CONNECT" || target.is_empty() || !target.iter().all(visible)
        {
            return Err(Violation::RequestLine);
        }
        let http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Violation::RequestLine),
        };
        Ok(Self {
            http_11,
            ..Self::default()
        })
    }

    /// Reads NAME ":" VALUE.
    pub(super) fn header_line(&mut self, line: &[u8], limit: usize) -> Result<(), Violation> {
        self.bytes += line.len();
        if self.bytes > limit {
            return Err(Violation::TooLong);
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(Violation::HeaderLine)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Violation::HeaderLine);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length(value)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !self.http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::TransferEncoding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            let asks = |token: &[u8]| token.trim_ascii().eq_ignore_ascii_case(b"upgrade");
            self.connection_upgrade |= value.split(|byte| *byte == b',').any(asks);
        }
        if self.chunked && self.length.is_some() {
            return Err(Violation::BothLengths);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok());
        match (self.length, length) {
            (None, Some(length)) => {
                self.length = Some(length);
                Ok(())
            }
            _ => Err(Violation::ContentLength),
        }
    }

    /// What follows, now that the head has ended.
    pub(super) fn body(&self) -> Result<Body, Violation> {
        Ok(match (self.chunked, self.length) {
            (true, _) => Body::Chunked,
            (false, Some(length)) if length > 0 => Body::Length(length),
            _ if self.upgrade && self.connection_upgrade && self.http_11 => Body::Switch,
            _ => Body::Length(0),
        })
    }
}

/// A byte of a method or a header name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
