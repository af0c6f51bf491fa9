//! What a connection speaks, by its first bytes, where the service does not say.
//!
//! Invariant: bytes are only looked at, never lost. HTTP/1 is believed only after a whole request line.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// How long a client may keep silent before its server is taken to speak first.
const SILENCE: Duration = Duration::from_millis(250);
/// How long a beginning that could become HTTP is waited for.
const UNDECIDED: Duration = Duration::from_secs(10);
/// The longest request line that is waited for.
const MAX_LINE: usize = 16 * 1024;
/// How every HTTP/2 connection with prior knowledge begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How every record of a TLS handshake begins.
pub(super) const HANDSHAKE: u8 = 0x16;
/// The longest method that is taken for one.
const MAX_METHOD: usize = 24;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, which is carried as it is.
    Tls,
    /// Anything else, carried as it is.
    Tcp,
}

/// What those who attached routes have meant to be spoken. Being slow or odd is no way around a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// No route is attached.
    Anything,
    /// TLS among others: silence is waited out, and what begins like a handshake is one.
    Tls,
    /// HTTP: the same, and whatever an HTTP server could take for a request is served as one, and answered 400 if it is
    /// none.
    Http,
}

/// Reads until it is clear what is spoken. The bytes that were read come back.
pub async fn sniff<S>(stream: &mut S, meant: Meant) -> io::Result<(Protocol, Bytes)>
where
    S: AsyncRead + Unpin,
{
    let routed = meant != Meant::Anything;
    let mut seen = BytesMut::new();
    let protocol = loop {
        if let Some(protocol) = classify(&seen) {
            break protocol;
        }
        let silent = seen.is_empty();
        let read = stream.read_buf(&mut seen);
        let count = match (silent, routed) {
            (true, true) => Some(read.await?),
            (true, false) => timeout(SILENCE, read).await.ok().transpose()?,
            (false, _) => timeout(UNDECIDED, read).await.ok().transpose()?,
        };
        if count.unwrap_or(0) == 0 {
            break Protocol::Tcp;
        }
    };
    let protocol = match protocol {
        Protocol::Tcp if meant == Meant::Http && could_be_a_request(&seen) => Protocol::Http1,
        Protocol::Tcp if routed && seen.first() == Some(&HANDSHAKE) => Protocol::Tls,
        protocol => protocol,
    };
    Ok((protocol, seen.freeze()))
}

/// Whether a lenient HTTP server could take this for the beginning of a request.
fn could_be_a_request(seen: &[u8]) -> bool {
    seen.trim_ascii_start()
        .first()
        .is_some_and(u8::is_ascii_alphabetic)
}

/// What `seen` is the beginning of; nothing while that is open.
fn classify(seen: &[u8]) -> Option<Protocol> {
    let first = *seen.first()?;
    if first == HANDSHAKE {
        return match seen.get(1) {
            None => None,
            Some(3) => Some(Protocol::Tls),
            Some(_) => Some(Protocol::Tcp),
        };
    }
    if seen.len() <= PREFACE.len() && PREFACE.starts_with(seen) {
        return (seen.len() == PREFACE.len()).then_some(Protocol::Http2);
    }
    if seen.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    match seen.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = seen.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let http = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
            Some(if http && begins_like_a_request(line) {
                Protocol::Http1
            } else {
                Protocol::Tcp
            })
        }
        None if begins_like_a_request(seen) && seen.len() < MAX_LINE => None,
        None => Some(Protocol::Tcp),
    }
}

/// Whether `line` could be METHOD SP TARGET, as far as it goes.
fn begins_like_a_request(line: &[u8]) -> bool {
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let target = line
        .get(method.len() + 1..)
        .and_then(|target| target.first());
    let begins =
        target.is_none_or(|first| matches!(first, b'/' | b'*') || first.is_ascii_alphabetic());
    (1..=MAX_METHOD).contains(&method.len())
        && method
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
        && begins
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[test]
    fn first_bytes_tell() {
        for (seen, expected) in [
            (&b""[..], None),
            (b"GET", None),
            (b"GET / HTTP/1.1\r", None),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"PROPFIND /x HTTP/1.0\n", Some(Protocol::Http1)),
            (b"GET /\r\n", Some(Protocol::Tcp)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            (PREFACE, Some(Protocol::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Some(Protocol::Tcp)),
            (b"\x16", None),
            (b"\x16\x03\x01", Some(Protocol::Tls)),
            (b"\x16\x02", Some(Protocol::Tcp)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Protocol::Tcp)),
            (b"SET key value\r\n", Some(Protocol::Tcp)),
            (b"EHLO [10.0.0.1]\r\n", Some(Protocol::Tcp)),
            (b"EHLO [", Some(Protocol::Tcp)),
            (b"\0\0\0\x08", Some(Protocol::Tcp)),
            (b"SSH-2.0-x\r\n", Some(Protocol::Tcp)),
        ] {
            assert_eq!(
                classify(seen),
                expected,
                "{:?}",
                String::from_utf8_lossy(seen)
            );
        }
        assert_eq!(classify(&[b'A'; MAX_METHOD + 1]), Some(Protocol::Tcp));
        assert_eq!(
            classify(&[b"GET /", &[b'a'; MAX_LINE][..]].concat()),
            Some(Protocol::Tcp)
        );
    }

    #[tokio::test]
    async fn silence_is_tcp_only_where_no_route_depends_on_it() {
        let (mut client, mut server) = duplex(100);
        assert_eq!(
            sniff(&mut server, Meant::Anything).await.unwrap(),
            (Protocol::Tcp, Bytes::new())
        );
        let late = async {
            tokio::time::sleep(SILENCE * 4).await;
            client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        };
        let (seen, ()) = tokio::join!(sniff(&mut server, Meant::Http), late);
        assert_eq!(
            seen.unwrap(),
            (Protocol::Http1, Bytes::from_static(b"GET / HTTP/1.1\r\n"))
        );
    }

    #[tokio::test]
    async fn being_slow_or_odd_is_no_way_around_a_route() {
        let cases: [(&'static [u8], Protocol); 7] = [
            (b"G", Protocol::Http1),
            (b"GET /", Protocol::Http1),
            (b"\r\nGET /admin HTTP/1.1\r\n", Protocol::Http1),
            (b"GET /admin\r\n", Protocol::Http1),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Tcp),
            (b"\x16\x03\x01", Protocol::Tls),
            (b"\x00\x01", Protocol::Tcp),
        ];
        // At once, since some of them are waited for in earnest.
        let seen = tokio::task::JoinSet::from_iter(cases.map(async |(bytes, expected)| {
            let (mut client, mut server) = duplex(100);
            client.write_all(bytes).await.unwrap();
            let seen = sniff(&mut server, Meant::Http).await.unwrap();
            (seen, (expected, Bytes::from_static(bytes)))
        }));
        for (seen, expected) in seen.join_all().await {
            assert_eq!(seen, expected);
        }
    }

    #[tokio::test]
    async fn where_names_route_half_a_handshake_is_one_and_text_is_none() {
        for (bytes, expected) in [
            (&b"\x16"[..], Protocol::Tls),
            (b"\x16\x02", Protocol::Tls),
            (b"hello", Protocol::Tcp),
            (b"GET / HTTP/1.1\r\n", Protocol::Http1),
        ] {
            let seen = sniff(&mut &*bytes, Meant::Tls).await.unwrap();
            assert_eq!(seen, (expected, Bytes::copy_from_slice(bytes)));
        }
    }

    #[tokio::test]
    async fn bytes_come_back_however_they_were_cut() {
        let (mut client, mut server) = duplex(100);
        let writes = async {
            for piece in [&b"P"[..], b"OST / HT", b"TP/1.1\r\nHost"] {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (seen, ()) = tokio::join!(sniff(&mut server, Meant::Anything), writes);
        let (protocol, bytes) = seen.unwrap();
        assert_eq!(protocol, Protocol::Http1);
        assert!(b"POST / HTTP/1.1\r\nHost".starts_with(&bytes[..]) && bytes.len() >= 17);
    }
}
