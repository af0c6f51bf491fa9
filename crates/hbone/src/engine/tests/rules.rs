//! What RFC 9113 calls an error, and whose end it is.

use super::*;

const CONNECTION: bool = true;
const STREAM: bool = false;

/// What a peer may not send, and the code and scope of the error.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of rules")]
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
