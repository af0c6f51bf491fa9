//! Names out of first words, however they are cut, and why there is none.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// What is read of pieces that come one after the other, and then the end.
fn read_pieces(pieces: &[&[u8]]) -> Result<Claim, ClaimError> {
    let (mut client, mut server) = tokio::io::duplex(1);
    let writes = async {
        for piece in pieces {
            // The reader may have seen enough.
            if client.write_all(piece).await.is_err() {
                break;
            }
        }
        drop(client);
    };
    let reading = async {
        let claim = read(&mut server).await;
        drop(server);
        claim
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .build()
        .unwrap()
        .block_on(async { tokio::join!(reading, writes).0 })
}

fn whole(bytes: &[u8]) -> Result<Claim, ClaimError> {
    read_pieces(&[bytes])
}

#[test]
fn a_request_names_its_host() {
    for (request, name) in [
        (
            "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "api.example.com",
        ),
        (
            "POST /x HTTP/1.0\r\nA: b\r\nhOST:\tAPI.example.com.:8080 \r\n\r\nbody",
            "api.example.com",
        ),
        ("GET http://other.example/ HTTP/1.1\r\nHost: a\r\n\r\n", "a"),
    ] {
        let claim = whole(request.as_bytes()).unwrap();
        assert_eq!(&*claim.name, name);
        assert!(
            request.as_bytes().starts_with(&claim.bytes),
            "bytes go on as they came"
        );
        assert!(
            claim.bytes.ends_with(b"\r\n\r\n"),
            "no more than was needed"
        );
    }
}

#[test]
fn everything_else_has_no_name_and_says_why() {
    for (said, why) in [
        ("GET / HTTP/1.1\r\n\r\n", "no head with one Host"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "no head with one Host",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "no head with one Host",
        ),
        (
            "GET / HTTP/1.1\r\nno header\r\n\r\n",
            "no head with one Host",
        ),
        ("GET /\r\nHost: a\r\n\r\n", "no head with one Host"),
        (
            "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
            "names an address",
        ),
        (
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            "names an address",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS"),
        ("EHLO\r\n", "neither TLS nor HTTP/1"),
        ("\0\0\0\x08\x04\x52\x16\x2f", "neither TLS nor HTTP/1"),
        ("SSH-2.0-OpenSSH", "neither TLS nor HTTP/1"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "unexpected end of file"),
        ("", "unexpected end of file"),
        (
            "\x16\x03\x01\0\x05nonsense",
            "the client's TLS: not a ClientHello",
        ),
    ] {
        let error = whole(said.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{said:?}: {error}");
    }
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(2 * MAX_HEAD));
    assert!(matches!(whole(endless.as_bytes()), Err(ClaimError::NoHost)));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(cuts in proptest::collection::vec(0usize..60, 0..5)) {
        let bytes = b"GET /index.html HTTP/1.1\r\nHost: web.example\r\nA: b\r\n\r\n";
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[start..cut]);
            start = cut;
        }
        let claim = read_pieces(&pieces).unwrap();
        prop_assert_eq!(&*claim.name, "web.example");
        prop_assert_eq!(&claim.bytes[..], &bytes[..]);
    }

    #[test]
    fn nonsense_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(whole(&noise));
        drop(whole(&[&b"GET / HTTP/1.1\r\nHost: "[..], &noise, b"\r\n\r\n"].concat()));
    }
}
