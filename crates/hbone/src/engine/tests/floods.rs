//! Peers that try to make the engine work or keep memory: each loses its connection, and nothing grows before.

use super::*;

/// Sends `frames` again and again until the connection ends; how many times that was.
fn flood(raw: &mut Raw, read: bool, mut frames: impl FnMut(u32) -> Vec<u8>) -> (u32, Code) {
    for n in 0..200_000 {
        if let Err(failure) = raw.bytes(&frames(n)) {
            let Failure::Violation { code, .. } = failure else {
                panic!("{failure}")
            };
            return (n, code);
        }
        while let Some((id, _)) = raw.connection.take_request() {
            raw.connection.release(id);
        }
        if read {
            raw.sent();
        }
        assert!(
            raw.connection.output_len() < 300_000,
            "what is owed is bounded"
        );
    }
    panic!("200,000 were taken")
}

#[test]
fn streams_that_come_to_nothing() {
    let cancel = Code::CANCEL.0.to_be_bytes();
    let reset = |id| frame(kind::RST_STREAM, 0, id, &cancel);
    let headers = |id, block: &[u8]| frame(kind::HEADERS, flag::END_HEADERS, id, block);
    type Flood<'a> = Box<dyn FnMut(u32) -> Vec<u8> + 'a>;
    let floods: [(&str, Flood<'_>); 6] = [
        (
            "rapid reset",
            Box::new(|n| [headers(1 + 2 * n, &connect()), reset(1 + 2 * n)].concat()),
        ),
        (
            "malformed",
            Box::new(|n| headers(1 + 2 * n, &block(&[(":method", "CONNECT")]))),
        ),
        (
            "window of nothing",
            Box::new(|n| {
                [
                    headers(1 + 2 * n, &connect()),
                    frame(kind::WINDOW_UPDATE, 0, 1 + 2 * n, &[0; 4]),
                ]
                .concat()
            }),
        ),
        (
            "data after the end",
            Box::new(|n| {
                let end = frame(kind::DATA, flag::END_STREAM, 1 + 2 * n, b"");
                [headers(1 + 2 * n, &connect()), end.clone(), end].concat()
            }),
        ),
        (
            "no CONNECT",
            Box::new(|n| {
                headers(
                    1 + 2 * n,
                    &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
                )
            }),
        ),
        (
            "too large",
            Box::new(|n| {
                headers(
                    1 + 2 * n,
                    &block(&[("x", &"y".repeat(16_000)), ("z", &"y".repeat(300))]),
                )
            }),
        ),
    ];
    for (what, frames) in floods {
        let mut raw = Raw::server();
        let (n, code) = flood(&mut raw, true, frames);
        assert_eq!(code, Code::ENHANCE_YOUR_CALM, "{what}");
        assert!((300..1000).contains(&n), "{what}: {n}");
    }
}

#[test]
fn resets_at_a_slow_pace_are_served() {
    let mut raw = Raw::server();
    let cancel = Code::CANCEL.0.to_be_bytes();
    for n in 0..5000 {
        raw.wait(Duration::from_millis(25));
        raw.request(1 + 2 * n).unwrap();
        raw.send(kind::RST_STREAM, 0, 1 + 2 * n, &cancel).unwrap();
        assert!(
            raw.connection.take_request().is_none(),
            "nobody works for it"
        );
        raw.sent();
    }
}

#[test]
fn streams_that_were_answered_may_be_reset() {
    let mut raw = Raw::server();
    let cancel = Code::CANCEL.0.to_be_bytes();
    for n in 0..5000 {
        let id = 1 + 2 * n;
        raw.request(id).unwrap();
        raw.connection.take_request().unwrap();
        raw.connection
            .answer_with(id, 200, &Fields::default(), false)
            .unwrap();
        raw.send(kind::RST_STREAM, 0, id, &cancel).unwrap();
        raw.connection.release(id);
        raw.sent();
    }
    assert_eq!(raw.connection.streams_kept(), 0);
}

#[test]
fn frames_that_move_nothing() {
    for read in [true, false] {
        for (what, bytes) in [
            ("PING", frame(kind::PING, 0, 0, &[0; 8])),
            ("PING answers", frame(kind::PING, flag::ACK, 0, &[0; 8])),
            ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
            ("SETTINGS answers", frame(kind::SETTINGS, flag::ACK, 0, &[])),
            ("PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
            (
                "WINDOW_UPDATE",
                frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            ),
            (
                "WINDOW_UPDATE of a stream",
                frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            ),
            ("empty DATA", frame(kind::DATA, 0, 1, &[])),
            (
                "padding alone",
                frame(
                    kind::DATA,
                    flag::PADDED,
                    1,
                    &[255; 256].map(|b: u8| if b == 0 { 0 } else { b }),
                ),
            ),
            ("unknown", frame(99, 0, 1, b"")),
            ("GOAWAY", frame(kind::GOAWAY, 0, 0, &[0; 8])),
        ] {
            let mut raw = Raw::serving();
            let (n, code) = flood(&mut raw, read, |_| bytes.clone());
            assert_eq!(code, Code::ENHANCE_YOUR_CALM, "{what}");
            assert!(n < 20_000, "{what}: {n}");
        }
    }
}

#[test]
fn the_same_from_a_server() {
    for (what, bytes) in [
        ("PING", frame(kind::PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
        (
            "WINDOW_UPDATE",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        ("empty DATA", frame(kind::DATA, 0, 1, &[])),
        (
            "interim answers",
            frame(
                kind::HEADERS,
                flag::END_HEADERS,
                3,
                &block(&[(":status", "103")]),
            ),
        ),
    ] {
        let mut raw = Raw::client();
        assert_eq!(raw.open(), 3);
        let (n, code) = flood(&mut raw, false, |_| bytes.clone());
        assert_eq!(code, Code::ENHANCE_YOUR_CALM, "{what}");
        assert!(n < 20_000, "{what}: {n}");
    }
}

#[test]
fn header_blocks_without_an_end() {
    for (what, fragment) in [
        ("empty", &b""[..]),
        ("a byte", &[0x82]),
        ("large", &[0x82; 8000]),
    ] {
        let mut raw = Raw::serving();
        raw.send(kind::HEADERS, 0, 3, fragment).unwrap();
        let (n, code) = flood(&mut raw, true, |_| {
            frame(kind::CONTINUATION, 0, 3, fragment)
        });
        assert_eq!(code, Code::ENHANCE_YOUR_CALM, "{what}");
        assert!(n <= 16, "{what}: {n}");
    }
}

/// CVE-2026-47774 and its kind: a small block that names one large entry many times.
#[test]
fn an_amplified_header_list_is_refused_and_the_connection_lives() {
    let mut raw = Raw::serving();
    let mut amplified = connect();
    amplified.extend([0x40, 1, b'c', 0x7f, 0x81, 0x1d]);
    amplified.extend([b'x'; 127 + 1 + 29 * 128]);
    amplified.extend([0xbe; 10_000]);
    raw.send(kind::HEADERS, flag::END_HEADERS, 3, &amplified)
        .unwrap();
    assert!(raw.connection.take_request().is_none());
    assert_eq!(raw.reset_code(3), Some(Code::NO_ERROR), "after 431");
    // The table goes on as the peer has it.
    raw.send(
        kind::HEADERS,
        flag::END_HEADERS,
        5,
        &[&connect()[..], &[0xbe]].concat(),
    )
    .unwrap();
    assert!(raw.connection.take_request().is_some());
}

#[test]
fn tiny_data_costs_its_bytes() {
    let mut raw = Raw::serving();
    let tiny = frame(kind::DATA, 0, 1, b"x");
    for _ in 0..99 {
        raw.bytes(&tiny.repeat(1000)).unwrap();
    }
    let mut expected = 99_000;
    assert_eq!(raw.read(1).len(), expected);
    // Padding counts against the windows and comes back at once.
    let padded = frame(
        kind::DATA,
        flag::PADDED,
        1,
        &[&[200][..], b"x", &[0; 200]].concat(),
    );
    for _ in 0..5000 {
        raw.bytes(&padded).unwrap();
        expected += 1;
    }
    assert_eq!(raw.read(1).len(), 5000);
    assert_eq!(expected, 104_000);
}

#[test]
fn a_peer_that_opens_and_closes_but_never_reads() {
    let mut raw = Raw::server();
    let failure = (0..100_000).find_map(|n| {
        let id = 1 + 2 * n;
        if let Err(failure) = raw.request(id) {
            return Some(failure);
        }
        raw.connection.take_request().unwrap();
        raw.connection
            .answer_with(id, 200, &Fields::default(), false)
            .unwrap();
        let reset = raw.send(kind::RST_STREAM, 0, id, &[0; 4]);
        raw.connection.release(id);
        assert!(raw.connection.output_len() < 300_000);
        reset.err()
    });
    assert!(matches!(
        failure,
        Some(Failure::Violation {
            code: Code::ENHANCE_YOUR_CALM,
            ..
        })
    ));
}

/// Two thousand streams that the peer closed while their handles are still held.
#[test]
fn streams_that_are_still_held_are_bounded() {
    let mut raw = Raw::server();
    let mut refused = 0;
    for n in 0..100 {
        let id = 1 + 2 * n;
        raw.request(id).unwrap();
        if raw.connection.take_request().is_some() {
            raw.connection
                .answer_with(id, 200, &Fields::default(), false)
                .unwrap();
            raw.send(kind::RST_STREAM, 0, id, &[0; 4]).unwrap();
        } else {
            refused += 1;
        }
        raw.sent();
    }
    assert_eq!((raw.connection.streams_kept(), refused), (20, 80));
}
