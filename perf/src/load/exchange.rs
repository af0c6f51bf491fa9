//! One request and its answer on a connection, checked: status 200 and a body of the right length.

use super::{Order, PATIENCE};
use anyhow::{Context, Result, bail, ensure};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const READ: usize = 64 * 1024;
const LONGEST_HEAD: usize = 4096;

/// A connection to the order's server.
pub(super) async fn connect(target: SocketAddr) -> Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let stream = timeout(PATIENCE, socket.connect(target))
        .await
        .context("connecting took too long")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The bytes of a request.
pub(super) fn request(order: &Order, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!(
        "GET {} HTTP/1.1\r\nHost: server\r\n{connection}\r\n",
        order.path
    )
    .into_bytes()
}

/// Sends a request and reads its answer.
pub(super) async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    size: usize,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    stream.write_all(request).await?;
    buffer.resize(READ.min(size + LONGEST_HEAD), 0);
    let mut answer = Answer::new(size);
    loop {
        let length = stream.read(buffer).await?;
        ensure!(length > 0, "the server closed the connection");
        if answer.take(buffer.get(..length).unwrap_or_default())? {
            return Ok(());
        }
    }
}

/// [`exchange`] that gives up.
pub(super) async fn exchange_within(
    limit: Duration,
    stream: &mut TcpStream,
    request: &[u8],
    size: usize,
) -> Result<()> {
    timeout(limit, exchange(stream, request, size, &mut Vec::new()))
        .await
        .context("no answer in time")?
}

/// An answer as it comes in.
#[derive(Debug)]
pub(super) struct Answer {
    size: usize,
    head: Vec<u8>,
    /// Bytes of the body that have yet to come, once the head is whole.
    left: Option<usize>,
}

impl Answer {
    /// To a request whose body should have `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            head: Vec::new(),
            left: None,
        }
    }

    /// Takes what was read; true once it is whole, and ready for the next one.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        let body = match self.left {
            Some(left) => {
                self.left = left.checked_sub(bytes.len());
                self.left
            }
            None => {
                self.head.extend_from_slice(bytes);
                let Some(end) = find(&self.head, b"\r\n\r\n") else {
                    ensure!(self.head.len() < LONGEST_HEAD, "an endless head");
                    return Ok(false);
                };
                let (head, body) = self.head.split_at_checked(end + 4).context("head")?;
                check(head, self.size)?;
                self.left = self.size.checked_sub(body.len());
                self.left
            }
        };
        match body {
            None => bail!("more bytes than were asked for"),
            Some(0) => {
                self.head.clear();
                self.left = None;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }
}

fn check(head: &[u8], size: usize) -> Result<()> {
    let text = String::from_utf8_lossy(head);
    ensure!(head.starts_with(b"HTTP/1.1 200"), "the answer is {text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    ensure!(
        length == Some(size),
        "not the length that was expected: {text}"
    );
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-length: 3\r\n\r\n";

    #[test]
    fn an_answer_may_come_in_pieces() {
        let mut answer = Answer::new(3);
        let whole = [HEAD, b"abc"].concat();
        for _ in 0..2 {
            let (last, first) = whole.split_last().unwrap();
            for byte in first {
                assert!(!answer.take(&[*byte]).unwrap());
            }
            assert!(answer.take(&[*last]).unwrap());
        }
        assert!(answer.take(&whole).unwrap());
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        assert!(Answer::new(4).take(HEAD).is_err());
        assert!(Answer::new(3).take(&[HEAD, b"abcd"].concat()).is_err());
        assert!(
            Answer::new(3)
                .take(b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc")
                .is_err()
        );
    }
}
