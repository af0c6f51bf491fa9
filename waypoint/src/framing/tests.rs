//! Framing: what passes, what is refused and where, and that the cut between reads never matters.

use proptest::prelude::*;

use super::*;

fn feed(text: &str) -> Result<Accepted, Refused> {
    Framing::default().feed(text.as_bytes())
}

fn violation(text: &str) -> Option<Violation> {
    feed(text).err().map(|refused| refused.violation)
}

/// A head for a body, with these header lines.
fn head(lines: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn plain_requests_pass_whole() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost:a\r\nX:\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        &(head("Content-Length: 3\r\n") + "abcGET / HTTP/1.1\r\n\r\n"),
        &(head("Content-Length: 0\r\n") + "GET / HTTP/1.1\r\n\r\n"),
        &(head("Transfer-Encoding: Chunked\r\n")
            + "3;x=\"y\"\r\na\nb\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    ] {
        assert_eq!(
            feed(text),
            Ok(Accepted {
                bytes: text.len(),
                switch: false
            }),
            "{text:?}"
        );
    }
}

#[test]
fn heads_that_two_readers_could_split_differently_are_refused() {
    use Violation::{
        BothLengths, ContentLength, HeaderLine, LineEnd, RequestLine, TransferEncoding,
    };
    for (lines, expected) in [
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            BothLengths,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            BothLengths,
        ),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", ContentLength),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", ContentLength),
        ("Content-Length: +3\r\n", ContentLength),
        ("Content-Length: -3\r\n", ContentLength),
        ("Content-Length: 3, 3\r\n", ContentLength),
        ("Content-Length: 0x3\r\n", ContentLength),
        ("Content-Length:\r\n", ContentLength),
        ("Content-Length: 99999999999999999999\r\n", ContentLength),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            TransferEncoding,
        ),
        ("Transfer-Encoding: identity\r\n", TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", TransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", TransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", TransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", TransferEncoding),
        ("Transfer-Encoding : chunked\r\n", HeaderLine),
        ("Transfer-Encoding\t: chunked\r\n", HeaderLine),
        (" Transfer-Encoding: chunked\r\n", HeaderLine),
        ("X: 1\r\n folded\r\n", HeaderLine),
        ("X: 1\r\n\tfolded: 2\r\n", HeaderLine),
        ("no colon\r\n", HeaderLine),
        (": empty name\r\n", HeaderLine),
        ("X: 1\nY: 2\r\n", LineEnd),
        ("X: 1\rY: 2\r\n", LineEnd),
        ("X: a\0b\r\n", LineEnd),
    ] {
        assert_eq!(violation(&head(lines)), Some(expected), "{lines:?}");
    }
    for line in ["GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\r\n"] {
        assert_eq!(violation(line), Some(LineEnd), "{line:?}");
    }
    for line in [
        "GET  / HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET /",
        "GET / HTTP/1.1 ",
        "G(T / HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        assert_eq!(
            violation(&format!("{line}\r\nHost: a\r\n\r\n")),
            Some(RequestLine),
            "{line:?}"
        );
    }
    assert_eq!(
        violation("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Some(TransferEncoding),
        "HTTP/1.0 has no transfer codings"
    );
    assert_eq!(violation(&"\r\n".repeat(5)), Some(RequestLine));
}

#[test]
fn bodies_must_be_plain_chunks() {
    use Violation::{Chunk, HeaderLine, LineEnd};
    for (body, expected) in [
        ("x\r\n", Chunk),
        ("\r\n", Chunk),
        ("-1\r\n", Chunk),
        ("0x3\r\nabc\r\n", Chunk),
        ("3 \r\nabc\r\n", Chunk),
        (" 3\r\nabc\r\n", Chunk),
        ("11111111111111111\r\n", Chunk),
        ("3\nabc\r\n", LineEnd),
        ("3;a\nb\r\nabc\r\n", LineEnd),
        ("3\r\nabcd\r\n", Chunk),
        ("3\r\nabcX\n", LineEnd),
        ("0\r\n folded\r\n\r\n", HeaderLine),
        ("0\r\nno colon\r\n\r\n", HeaderLine),
    ] {
        let text = head("Transfer-Encoding: chunked\r\n") + body;
        assert_eq!(violation(&text), Some(expected), "{body:?}");
    }
}

#[test]
fn refusal_tells_where_the_good_part_ends() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\n";
    let refused = feed(&format!("{good}bad line\r\n\r\n")).unwrap_err();
    assert_eq!((refused.bytes, refused.in_head), (good.len(), true));
    let good = head("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n";
    let refused = feed(&format!("{good}zz\r\n")).unwrap_err();
    assert_eq!((refused.bytes, refused.in_head), (good.len(), false));
}

#[test]
fn what_follows_a_change_of_protocol_is_no_request() {
    let asks = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut framing = Framing::default();
    let text = format!("{asks}GET /admin HTTP/1.1\r\n\r\n");
    assert_eq!(
        framing.feed(text.as_bytes()),
        Ok(Accepted {
            bytes: asks.len(),
            switch: true
        })
    );
    assert_eq!(
        framing.feed(b"anything"),
        Ok(Accepted {
            bytes: 0,
            switch: true
        })
    );
    for no_switch in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n",
    ] {
        assert!(!feed(&head(no_switch)).unwrap().switch, "{no_switch:?}");
    }
}

#[test]
fn endless_lines_are_cut() {
    let mut framing = Framing::default();
    let mut sent = 0;
    while let Ok(accepted) = framing.feed(&[b'a'; 4096]) {
        sent += accepted.bytes;
        assert!(sent <= MAX_HEAD);
    }
    let lines = "X: 1\r\n".repeat(MAX_HEAD / 4);
    assert_eq!(violation(&head(&lines)), Some(Violation::TooLong));
    let trailers = head("Transfer-Encoding: chunked\r\n") + "0\r\n" + &"X: 1\r\n".repeat(5_000);
    assert_eq!(violation(&trailers), Some(Violation::TooLong));
}

/// Feeds in pieces and returns what became of it: bytes let through, and the violation.
fn in_pieces(text: &[u8], cuts: &[usize]) -> (usize, Option<Violation>) {
    let mut framing = Framing::default();
    let mut passed = 0;
    let mut at = 0;
    let ends = cuts
        .iter()
        .map(|cut| cut % (text.len() + 1))
        .chain([text.len()]);
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    for end in ends {
        match framing.feed(&text[at..end]) {
            Ok(accepted) if accepted.switch => return (passed + accepted.bytes, None),
            Ok(accepted) => passed += accepted.bytes,
            Err(refused) => return (passed + refused.bytes, Some(refused.violation)),
        }
        at = end;
    }
    (passed, None)
}

fn message() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("Host: a"),
        Just("X: 1"),
        Just("Connection: upgrade"),
        Just("Upgrade: ws"),
        Just("Transfer-Encoding: chunked"),
        Just("Content-Length: 4"),
        Just("X : 1"),
        Just(" folded"),
    ];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n")];
    let body = "(3\r\nabc\r\n|0\r\n|\r\n|abcd|zz\r\n){0,3}";
    (proptest::collection::vec((line, end), 0..4), body).prop_map(|(lines, body)| {
        let lines: String = lines
            .into_iter()
            .map(|(line, end)| format!("{line}{end}"))
            .collect();
        format!("POST / HTTP/1.1\r\n{lines}\r\n{body}GET / HTTP/1.1\r\n\r\n")
    })
}

proptest! {
    #[test]
    fn cuts_between_reads_do_not_matter(text in message(), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
        let (whole_bytes, whole) = in_pieces(text.as_bytes(), &[]);
        let (cut_bytes, cut) = in_pieces(text.as_bytes(), &cuts);
        prop_assert_eq!(whole, cut);
        // In pieces, the beginning of a wrong line may have passed already; its end never does.
        prop_assert!(cut_bytes >= whole_bytes);
        if whole.is_none() {
            prop_assert_eq!(whole_bytes, cut_bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(accepted) = Framing::default().feed(&bytes) {
            prop_assert!(accepted.bytes <= bytes.len());
        }
    }
}
