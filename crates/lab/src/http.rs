//! As much of an HTTP/1.1 client as admin endpoints need.

use crate::Netns;
use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A response: status code and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Response {
    /// The body if the status is 200.
    pub fn ok(self) -> Result<String> {
        match self.status {
            200 => Ok(self.body),
            status => bail!("status {status}: {}", self.body.trim()),
        }
    }
}

/// Asks a server of a namespace.
pub fn tcp(netns: &Netns, address: SocketAddr, method: &str, path: &str) -> Result<Response> {
    let stream = netns
        .enter(|| TcpStream::connect_timeout(&address, TIMEOUT))?
        .with_context(|| address.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path)
}

/// Asks a server on a Unix socket.
pub fn unix(socket: &Path, method: &str, path: &str) -> Result<Response> {
    let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path)
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Result<Response> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Response> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("a response without an end of its headers")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("a response without a status")?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)?
    } else {
        body.to_owned()
    };
    Ok(Response { status, body })
}

fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).context("chunk size")?;
        if size == 0 {
            break;
        }
        body.push_str(after.get(..size).context("a chunk cut short")?);
        rest = after.get(size + 2..).context("a chunk without an end")?;
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nwhy").unwrap();
        assert_eq!(
            plain,
            Response {
                status: 500,
                body: "why".into()
            }
        );
        let chunked = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap();
        assert_eq!(chunked.ok().unwrap(), "abcde");
    }
}
