//! The name that a client gives, in whichever protocol it speaks: the server name of TLS, or the `Host` of HTTP/1.
//!
//! Invariant: a name is what the client claims and proves nothing. Of several readings of the same bytes it matters none,
//! as long as the name that is read here is the one that is proved.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::hello::{self, HelloError};
use crate::host::Host;

/// The longest head of a first request that is read.
const MAX_HEAD: usize = 16 * 1024;
/// Most come with one read of so much.
const USUAL_HEAD: usize = 2 * 1024;
/// Record type of TLS: handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What HTTP/2 begins with where no TLS said so (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// The longest method that is taken for one.
const MAX_METHOD: usize = 20;

/// A name, and what was read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// In canonical form, never an address.
    pub name: Box<str>,
    /// Every byte that was read.
    pub bytes: Bytes,
}

/// Why there is no [`Claim`].
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The connection ended or failed.
    #[error("the client: {0}")]
    Io(#[from] io::Error),
    /// It begins as neither.
    #[error("the client speaks neither TLS nor HTTP/1")]
    Protocol,
    /// HTTP/2 without TLS.
    #[error("the client speaks HTTP/2 without TLS, whose names are not read")]
    Http2,
    /// TLS without a name.
    #[error("the client's TLS names no server")]
    NoServerName,
    /// The ClientHello cannot be read.
    #[error("the client's TLS: {0}")]
    Hello(HelloError),
    /// A request without exactly one `Host` in order.
    #[error("the client's HTTP request has no head with one Host")]
    NoHost,
    /// An address in place of a name.
    #[error("the client names an address")]
    Address,
}

/// Reads the name that a client gives. The caller sets the deadline.
pub async fn read<S>(stream: &mut S) -> Result<Claim, ClaimError>
where
    S: AsyncRead + Unpin,
{
    let mut all = BytesMut::with_capacity(USUAL_HEAD);
    let mut looked_at = 0;
    loop {
        if stream.read_buf(&mut all).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match all.first() {
            Some(&HANDSHAKE) => return of_tls(stream, all.freeze()).await,
            _ if !may_be_request(&all) => return Err(ClaimError::Protocol),
            _ if all.starts_with(PREFACE) => return Err(ClaimError::Http2),
            _ => {}
        }
        if let Some(end) = end_of_head(&all, looked_at) {
            let head = all.get(..end).unwrap_or_default();
            let name = host(head)?;
            return Ok(Claim {
                name,
                bytes: all.freeze(),
            });
        }
        looked_at = all.len();
        if all.len() >= MAX_HEAD {
            return Err(ClaimError::NoHost);
        }
    }
}

async fn of_tls<S>(stream: &mut S, first: Bytes) -> Result<Claim, ClaimError>
where
    S: AsyncRead + Unpin,
{
    match hello::read(stream, first).await {
        Ok(hello) if hello.server_name.is_empty() => Err(ClaimError::NoServerName),
        Ok(hello) => Ok(Claim {
            name: no_address(hello.server_name)?,
            bytes: hello.bytes,
        }),
        Err(HelloError::Io(error)) => Err(error.into()),
        Err(error) => Err(ClaimError::Hello(error)),
    }
}

/// Whether it begins as a request line does: a method in capitals and a blank.
fn may_be_request(bytes: &[u8]) -> bool {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    match bytes.get(method) {
        None => (1..=MAX_METHOD).contains(&method),
        Some(b' ') => (3..=MAX_METHOD).contains(&method),
        Some(_) => false,
    }
}

/// Where the blank line begins, if it is not in what was looked at before.
fn end_of_head(bytes: &[u8], looked_at: usize) -> Option<usize> {
    let from = looked_at.saturating_sub(3);
    let mut new = bytes.get(from..)?.windows(4);
    new.position(|four| four == b"\r\n\r\n").map(|at| from + at)
}

/// The value of the one `Host` of a head, which ends before its last line's end.
fn host(head: &[u8]) -> Result<Box<str>, ClaimError> {
    let head = std::str::from_utf8(head).map_err(|_| ClaimError::NoHost)?;
    let mut lines = head.split("\r\n");
    let request = lines.next().unwrap_or_default();
    if !request.ends_with(" HTTP/1.1") && !request.ends_with(" HTTP/1.0") {
        return Err(ClaimError::NoHost);
    }
    let mut found = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(ClaimError::NoHost)?;
        if name.eq_ignore_ascii_case("host") && found.replace(value).is_some() {
            return Err(ClaimError::NoHost);
        }
    }
    let value = found.ok_or(ClaimError::NoHost)?.trim_matches([' ', '\t']);
    let host = Host::parse(value.as_bytes()).map_err(|_| ClaimError::NoHost)?;
    no_address(host.name().into())
}

fn no_address(name: Box<str>) -> Result<Box<str>, ClaimError> {
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let last_is_numeric = name.rsplit('.').next().is_some_and(numeric);
    if name.starts_with('[') || last_is_numeric {
        return Err(ClaimError::Address);
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
