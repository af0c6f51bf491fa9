//! What RFC 9113 calls an error, and whose end it is.

use super::*;

const CONNECTION: bool = true;
const STREAM: bool = false;

/// What a peer may not send, and the code and scope of the error.
#[test]
fn errors_of_a_client_have_their_code_and_scope() {
    let end = flag::END_STREAM;
    let done = flag::END_HEADERS;
    let both = end | done;
    type Case = (&'static str, Vec<u8>, Code, bool);
    let of = |what, bytes: Vec<u8>, code, scope| -> Case { (what, bytes, code, scope) };
    let headers = |id, fields: &[(&str, &str)]| frame(kind::HEADERS, done, id, &block(fields));
    let cases = [
        of(
            "DATA on 0",
            frame(kind::DATA, 0, 0, b"x"),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "DATA on idle",
            frame(kind::DATA, 0, 3, b"x"),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "DATA of even idle",
            frame(kind::DATA, 0, 2, b"x"),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "padding",
            frame(kind::DATA, flag::PADDED, 1, b"\x05abc"),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "HEADERS on 0",
            frame(kind::HEADERS, done, 0, &connect()),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "HEADERS even",
            frame(kind::HEADERS, done, 2, &connect()),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "trailers without end",
            headers(1, &[("x", "y")]),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "pseudo trailers",
            frame(kind::HEADERS, both, 1, &block(&[(":path", "/")])),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "no authority",
            headers(3, &[(":method", "CONNECT")]),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "itself",
            frame(
                kind::HEADERS,
                done | flag::PRIORITY,
                3,
                &[&[0, 0, 0, 3, 1], &connect()[..]].concat(),
            ),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "short priority",
            frame(kind::HEADERS, done | flag::PRIORITY, 3, &[0, 0]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "HEADERS padding",
            frame(kind::HEADERS, done | flag::PADDED, 3, &[9, 0x82]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "HPACK",
            frame(kind::HEADERS, done, 3, &[0xff; 9]),
            Code::COMPRESSION_ERROR,
            CONNECTION,
        ),
        of(
            "CONTINUATION alone",
            frame(kind::CONTINUATION, done, 1, b""),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "between",
            [
                frame(kind::HEADERS, 0, 3, &connect()),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "unknown between",
            [frame(kind::HEADERS, 0, 3, &connect()), frame(99, 0, 0, b"")].concat(),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "DATA between",
            [
                frame(kind::HEADERS, 0, 3, &connect()),
                frame(kind::DATA, 0, 1, b""),
            ]
            .concat(),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "CONTINUATION of another",
            [
                frame(kind::HEADERS, 0, 3, &connect()),
                frame(kind::CONTINUATION, done, 5, b""),
            ]
            .concat(),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "PRIORITY on 0",
            frame(kind::PRIORITY, 0, 0, &[0; 5]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "PRIORITY of itself",
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 1]),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "PRIORITY length",
            frame(kind::PRIORITY, 0, 1, &[0; 4]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "RST on 0",
            frame(kind::RST_STREAM, 0, 0, &[0; 4]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "RST of idle",
            frame(kind::RST_STREAM, 0, 3, &[0; 4]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "RST length",
            frame(kind::RST_STREAM, 0, 1, &[0; 3]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "SETTINGS on 1",
            frame(kind::SETTINGS, 0, 1, b""),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "SETTINGS length",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "SETTINGS ack",
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "push 2",
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "window 2^31",
            frame(kind::SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0]),
            Code::FLOW_CONTROL_ERROR,
            CONNECTION,
        ),
        of(
            "frame 16383",
            frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "frame 2^24",
            frame(kind::SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "PUSH_PROMISE",
            frame(kind::PUSH_PROMISE, done, 1, &[0, 0, 0, 2]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "PING on 1",
            frame(kind::PING, 0, 1, &[0; 8]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "PING length",
            frame(kind::PING, 0, 0, &[0; 7]),
            Code::FRAME_SIZE_ERROR,
            CONNECTION,
        ),
        of(
            "GOAWAY on 1",
            frame(kind::GOAWAY, 0, 1, &[0; 8]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "WINDOW 0 on 0",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "WINDOW 0 on 1",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        of(
            "WINDOW of idle",
            frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        of(
            "WINDOW overflow 0",
            frame(kind::WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]),
            Code::FLOW_CONTROL_ERROR,
            CONNECTION,
        ),
        of(
            "WINDOW overflow 1",
            frame(kind::WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255]),
            Code::FLOW_CONTROL_ERROR,
            STREAM,
        ),
        of(
            "window of a setting",
            [
                frame(kind::WINDOW_UPDATE, 0, 1, &[127, 255, 0, 0]),
                frame(kind::SETTINGS, 0, 0, &[0, 4, 127, 255, 255, 255]),
            ]
            .concat(),
            Code::FLOW_CONTROL_ERROR,
            CONNECTION,
        ),
        of(
            "too much DATA",
            frame(kind::DATA, 0, 1, &[0; 100_001]),
            Code::FLOW_CONTROL_ERROR,
            STREAM,
        ),
        of(
            "far too much DATA",
            frame(kind::DATA, 0, 1, &[0; 400_001]),
            Code::FLOW_CONTROL_ERROR,
            CONNECTION,
        ),
        of(
            "DATA after end",
            [
                frame(kind::DATA, end, 1, b"x"),
                frame(kind::DATA, 0, 1, b"y"),
            ]
            .concat(),
            Code::STREAM_CLOSED,
            STREAM,
        ),
        of(
            "HEADERS after end",
            [
                frame(kind::DATA, end, 1, b"x"),
                frame(kind::HEADERS, both, 1, &[0x88]),
            ]
            .concat(),
            Code::STREAM_CLOSED,
            STREAM,
        ),
        of(
            "DATA after reset",
            [
                frame(kind::RST_STREAM, 0, 1, &[0; 4]),
                frame(kind::DATA, 0, 1, b"y"),
            ]
            .concat(),
            Code::STREAM_CLOSED,
            STREAM,
        ),
        of(
            "HEADERS after reset",
            [
                frame(kind::RST_STREAM, 0, 1, &[0; 4]),
                frame(kind::HEADERS, both, 1, &connect()),
            ]
            .concat(),
            Code::STREAM_CLOSED,
            STREAM,
        ),
    ];
    for (what, bytes, code, of_connection) in cases {
        let mut raw = Raw::serving();
        let result = raw.bytes(&bytes);
        if of_connection {
            assert!(
                matches!(result, Err(Failure::Violation { code: c, .. }) if c == code),
                "{what}: {result:?}"
            );
            assert_eq!(raw.goaway_code(), Some(code), "{what}");
            assert!(raw.request(99).is_err(), "{what}: it goes on");
        } else {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            let id = if raw.connection.streams_seen() > 1 {
                3
            } else {
                1
            };
            assert_eq!(raw.reset_code(id), Some(code), "{what}");
            raw.request(99).unwrap();
            assert!(raw.connection.take_request().is_some(), "{what}");
        }
    }
}

#[test]
fn errors_of_a_server_have_their_code_and_scope() {
    let end = flag::END_HEADERS | flag::END_STREAM;
    for (what, bytes, code, of_connection) in [
        (
            "an answer to nothing",
            frame(kind::HEADERS, end, 5, &[0x88]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        (
            "a stream of the server",
            frame(kind::HEADERS, end, 2, &[0x88]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        (
            "PUSH_PROMISE",
            frame(kind::PUSH_PROMISE, end, 1, &[0, 0, 0, 2]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        (
            "push",
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]),
            Code::PROTOCOL_ERROR,
            CONNECTION,
        ),
        (
            "DATA before the answer",
            frame(kind::DATA, 0, 3, b"x"),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        (
            "no status",
            frame(kind::HEADERS, end, 3, &block(&[("x", "y")])),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        (
            "a last interim answer",
            frame(kind::HEADERS, end, 3, &block(&[(":status", "103")])),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        (
            "101",
            frame(
                kind::HEADERS,
                flag::END_HEADERS,
                3,
                &block(&[(":status", "101")]),
            ),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
        (
            "a request",
            frame(kind::HEADERS, end, 3, &connect()),
            Code::PROTOCOL_ERROR,
            STREAM,
        ),
    ] {
        let mut raw = Raw::client();
        assert_eq!(raw.open(), 3);
        let result = raw.bytes(&bytes);
        if of_connection {
            assert!(
                matches!(result, Err(Failure::Violation { code: c, .. }) if c == code),
                "{what}: {result:?}"
            );
        } else {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(raw.reset_code(3), Some(code), "{what}");
            let answer = raw.connection.poll_answer(3, &cx());
            assert_eq!(answer, Poll::Ready(Err(StreamError::Local(code))), "{what}");
        }
    }
}

#[test]
fn settings_come_first() {
    for role in [Role::Client, Role::Server] {
        for first in [
            frame(kind::PING, 0, 0, &[0; 8]),
            frame(kind::SETTINGS, flag::ACK, 0, &[]),
            frame(kind::DATA, 0, 1, b"x"),
        ] {
            let mut connection = Connection::new(&setup(role));
            let preface = if role == Role::Server {
                &PREFACE[..]
            } else {
                b""
            };
            let bytes = [preface, &first].concat();
            assert!(connection.receive(bytes.into(), Duration::ZERO).is_err());
        }
    }
}

#[test]
fn what_is_unknown_is_ignored_and_what_asks_is_answered() {
    let mut raw = Raw::serving();
    raw.send(77, 0xff, 1, b"whatever").unwrap();
    raw.send(kind::SETTINGS, 0, 0, &[0x55, 0x55, 1, 2, 3, 4])
        .unwrap();
    raw.send(kind::PING, 0, 0, b"pingpong").unwrap();
    raw.send(kind::PRIORITY, 0, 9, &[0, 0, 0, 1, 1]).unwrap();
    raw.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).unwrap();
    assert_eq!(
        raw.sent(),
        [
            (kind::SETTINGS, flag::ACK, 0, vec![]),
            (kind::PING, flag::ACK, 0, b"pingpong".to_vec())
        ]
    );
}

#[test]
fn frames_on_streams_that_were_reset_here_are_ignored() {
    let mut raw = Raw::serving();
    raw.connection.reset(1, Code::CANCEL);
    raw.connection.release(1);
    assert_eq!(raw.reset_code(1), Some(Code::CANCEL));
    raw.send(kind::DATA, 0, 1, &[7; 100_000]).unwrap();
    raw.send(kind::DATA, 0, 1, &[7; 100_000]).unwrap();
    raw.send(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        &block(&[("x", "y")]),
    )
    .unwrap();
    raw.send(kind::RST_STREAM, 0, 1, &[0; 4]).unwrap();
    let sent = raw.sent();
    assert!(
        matches!(&sent[..], [(kind::WINDOW_UPDATE, _, 0, more)] if frame::number(more, 0) == 200_000),
        "the connection gets its window back: {sent:?}"
    );
}

#[test]
fn a_request_in_many_frames_with_padding_and_priority() {
    let mut raw = Raw::server();
    let block = connect();
    let first = [&[3, 0, 0, 0, 0, 1], &block[..5], &[0; 3]].concat();
    raw.send(
        kind::HEADERS,
        flag::PADDED | flag::PRIORITY | flag::END_STREAM,
        1,
        &first,
    )
    .unwrap();
    raw.send(kind::CONTINUATION, 0, 1, &block[5..9]).unwrap();
    raw.send(kind::CONTINUATION, flag::END_HEADERS, 1, &block[9..])
        .unwrap();
    let (id, head) = raw.connection.take_request().unwrap();
    assert_eq!(
        (id, head.authority.as_deref()),
        (1, Some(&b"10.0.0.1:80"[..]))
    );
    assert_eq!(
        raw.connection.poll_data(1, &cx()),
        Poll::Ready(Ok(false)),
        "it ended its side"
    );
}

#[test]
fn a_drain_serves_what_was_opened_before_it_was_known() {
    let mut raw = Raw::serving();
    raw.connection.drain();
    let sent = raw.sent();
    assert_eq!(sent[0].0, kind::GOAWAY);
    assert_eq!(frame::number(&sent[0].3, 0), frame::MAX_31);
    raw.request(3).unwrap();
    assert!(raw.connection.take_request().is_some());
    raw.send(kind::PING, flag::ACK, 0, &sent[1].3).unwrap();
    let last = raw.sent();
    assert_eq!((last[0].0, frame::number(&last[0].3, 0)), (kind::GOAWAY, 3));
    raw.request(5).unwrap();
    raw.send(kind::DATA, 0, 5, b"unserved").unwrap();
    assert!(raw.connection.take_request().is_none());
    assert!(raw.sent().is_empty());
    assert!(!raw.connection.is_over());
    for id in [1, 3] {
        raw.connection.reset(id, Code::CANCEL);
        raw.connection.release(id);
    }
    assert!(raw.connection.is_over());
}

#[test]
fn a_goaway_gives_back_what_was_not_processed() {
    let mut raw = Raw::client();
    let second = raw.open();
    raw.send(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])
        .unwrap();
    assert!(!raw.connection.is_usable());
    let answer = raw.connection.poll_answer(second, &cx());
    assert_eq!(answer, Poll::Ready(Err(StreamError::NotProcessed)));
    assert!(
        raw.connection.poll_data(1, &cx()).is_pending(),
        "the other one goes on"
    );
    let refused = raw.connection.poll_open("a:1", &Fields::default(), &cx());
    assert_eq!(refused, Poll::Ready(Err(StreamError::NotProcessed)));
    raw.connection.release(second);
    assert!(!raw.connection.is_over());
    raw.connection.release(1);
    assert!(raw.connection.is_over());
}

#[test]
fn a_refused_stream_was_not_processed() {
    let mut raw = Raw::client();
    let second = raw.open();
    raw.send(
        kind::RST_STREAM,
        0,
        second,
        &Code::REFUSED_STREAM.0.to_be_bytes(),
    )
    .unwrap();
    let answer = raw.connection.poll_answer(second, &cx());
    assert_eq!(answer, Poll::Ready(Err(StreamError::NotProcessed)));
}

#[test]
fn more_streams_than_allowed_are_refused_and_closed_ones_make_room() {
    let mut raw = Raw::server();
    for n in 0..10 {
        raw.request(1 + 2 * n).unwrap();
        assert!(raw.connection.take_request().is_some());
    }
    raw.request(21).unwrap();
    assert_eq!(raw.reset_code(21), Some(Code::REFUSED_STREAM));
    assert!(raw.connection.take_request().is_none());
    raw.connection.release(1);
    raw.request(23).unwrap();
    assert!(raw.connection.take_request().is_some());
}

#[test]
fn a_complete_answer_outlives_the_reset_that_follows() {
    let mut raw = Raw::client();
    raw.send(kind::DATA, flag::END_STREAM, 1, b"answer")
        .unwrap();
    raw.send(kind::RST_STREAM, 0, 1, &[0; 4]).unwrap();
    let no_error = StreamError::Reset(Code::NO_ERROR);
    assert_eq!(raw.connection.poll_reset(1, &cx()), Poll::Ready(no_error));
    assert_eq!(raw.read(1), b"answer");
    assert_eq!(raw.connection.poll_data(1, &cx()), Poll::Ready(Ok(false)));
}

#[test]
fn an_incomplete_answer_is_an_error_after_what_came() {
    let mut raw = Raw::client();
    raw.send(kind::DATA, 0, 1, b"half").unwrap();
    raw.send(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]).unwrap();
    assert_eq!(raw.read(1), b"half");
    let reset = StreamError::Reset(Code::CANCEL);
    assert_eq!(raw.connection.poll_data(1, &cx()), Poll::Ready(Err(reset)));
    let written = raw.write(1, b"x");
    assert!(
        matches!(written, Poll::Ready(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn a_smaller_header_table_is_acknowledged() {
    let mut raw = Raw::serving();
    raw.send(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).unwrap();
    for id in [3, 5] {
        raw.request(id).unwrap();
        raw.connection
            .answer_with(id, 200, &Fields::default(), false)
            .unwrap();
    }
    let blocks: Vec<_> = raw
        .sent()
        .into_iter()
        .filter(|f| f.0 == kind::HEADERS)
        .map(|f| f.3)
        .collect();
    assert_eq!(blocks, [vec![0x20, 0x88], vec![0x88]]);
}

#[test]
fn windows_stop_and_start_a_stream() {
    let mut raw = Raw::client();
    let bytes = vec![1; 200_000];
    let mut sent = 0;
    while let Poll::Ready(n) = raw.write(1, &bytes) {
        sent += n.unwrap();
        raw.sent();
    }
    assert_eq!(sent, 65_535);
    raw.send(kind::WINDOW_UPDATE, 0, 1, &100u32.to_be_bytes())
        .unwrap();
    assert!(
        raw.write(1, &bytes).is_pending(),
        "the connection has no window"
    );
    raw.send(kind::WINDOW_UPDATE, 0, 0, &60u32.to_be_bytes())
        .unwrap();
    assert!(matches!(raw.write(1, &bytes), Poll::Ready(Ok(60))));
    raw.send(kind::WINDOW_UPDATE, 0, 0, &60u32.to_be_bytes())
        .unwrap();
    raw.sent();
    assert!(matches!(raw.write(1, &bytes), Poll::Ready(Ok(40))));
    raw.sent();
    // A window that the peer makes smaller becomes negative, and is no error.
    raw.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
    raw.send(kind::WINDOW_UPDATE, 0, 1, &65_535u32.to_be_bytes())
        .unwrap();
    assert!(raw.write(1, &bytes).is_pending());
    raw.send(kind::WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes())
        .unwrap();
    assert!(matches!(raw.write(1, &bytes), Poll::Ready(Ok(1))));
}
