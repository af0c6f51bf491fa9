//! The life of streams and of a connection that keeps the rules: beginnings, ends, drains, windows.

use super::*;

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
fn a_client_that_ends_its_side_and_leaves_is_noticed() {
    let mut raw = Raw::serving();
    raw.send(kind::DATA, flag::END_STREAM, 1, b"request")
        .unwrap();
    raw.send(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]).unwrap();
    assert_eq!(raw.read(1), b"request");
    let reset = StreamError::Reset(Code::CANCEL);
    assert_eq!(raw.connection.poll_data(1, &cx()), Poll::Ready(Err(reset)));
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
