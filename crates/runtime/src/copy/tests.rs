//! Half-close, reset, backpressure and the idle deadline, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};

use super::*;

/// A connected pair: the side that the test holds, and the side that the copy gets.
fn pair() -> (StdStream, TcpStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let outer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (inner, _) = listener.accept().unwrap();
    inner.set_nonblocking(true).unwrap();
    (outer, TcpStream::from_std(inner).unwrap())
}

/// Blocking socket work beside the copy.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(f).await.unwrap()
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let (mut client, a) = pair();
    let (mut server, b) = pair();
    let copy = tokio::spawn(bidirectional(a, b, None));
    blocking(move || {
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        server.write_all(b"a long answer").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "a long answer");
    })
    .await;
    let outcome = copy.await.unwrap();
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!((outcome.a_to_b, outcome.b_to_a), (8, 13));
}

#[tokio::test]
async fn a_reset_becomes_a_reset_on_the_other_side() {
    let (client, a) = pair();
    let (mut server, b) = pair();
    let copy = tokio::spawn(bidirectional(a, b, None));
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let outcome = copy.await.unwrap();
    assert_eq!(
        outcome.error.unwrap().kind(),
        io::ErrorKind::ConnectionReset
    );
    let error = blocking(move || server.read(&mut [0; 8]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_before_a_reset_is_delivered_although_the_upload_fails() {
    let (mut client, a) = pair();
    let (mut server, b) = pair();
    server.write_all(b"no").unwrap();
    SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(server);
    client.write_all(b"upload").unwrap();
    let outcome = bidirectional(a, b, None).await;
    assert!(outcome.error.is_some());
    assert_eq!(outcome.b_to_a, 2);
    let mut answer = [0; 2];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"no");
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_writer_and_loses_no_byte() {
    let (mut client, a) = pair();
    let (mut server, b) = pair();
    let copy = tokio::spawn(bidirectional(a, b, None));
    let sent: Vec<u8> = (0..40_000_000u32).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    client.set_nonblocking(true).unwrap();
    let mut taken = 0;
    // Nobody reads at the server, so that the sockets' own buffers are all that can be filled.
    let mut refusals = 0;
    while refusals < 50 {
        match client.write(&sent[taken..]) {
            Ok(n) => (taken, refusals) = (taken + n, 0),
            Err(_would_block) => refusals += 1,
        }
        assert!(taken < sent.len(), "the copy swallowed everything");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    client.set_nonblocking(false).unwrap();
    let writer = blocking(move || {
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            server.read_to_end(&mut received).unwrap();
            received
        });
        client.write_all(&sent[taken..]).unwrap();
        drop(client);
        reader.join().unwrap()
    });
    assert!(writer.await == expected, "bytes differ");
    assert_eq!(copy.await.unwrap().a_to_b, expected.len() as u64);
}

#[tokio::test]
async fn silence_ends_the_copy_and_traffic_puts_it_off() {
    let limit = Duration::from_secs(2);
    let (mut client, a) = pair();
    let (mut server, b) = pair();
    let start = Instant::now();
    let mut copy = std::pin::pin!(bidirectional(a, b, Some(limit)));
    let half = tokio::time::timeout(limit / 2, &mut copy).await;
    assert!(half.is_err(), "not idle yet");
    client.write_all(b"x").unwrap();
    while tokio::time::timeout(Duration::from_millis(1), &mut copy)
        .await
        .is_err()
    {
        server.set_nonblocking(true).unwrap();
        if server.read(&mut [0; 1]).is_ok() {
            break;
        }
    }
    let outcome = copy.await;
    assert_eq!(outcome.error.unwrap().kind(), io::ErrorKind::TimedOut);
    assert_eq!(outcome.a_to_b, 1);
    assert!(
        start.elapsed() >= limit + limit / 2,
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_owner_sees_progress_and_may_stop_the_copy_by_a_reset() {
    let (mut client, a) = pair();
    let (mut server, b) = pair();
    let progress = std::sync::Arc::new(Progress::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let seen = progress.clone();
    let copy = tokio::spawn(async move {
        let stop = Box::pin(async {
            drop(stopped.await);
            io::Error::other("stopped")
        });
        watched(a, b, None, seen, stop).await
    });
    client.write_all(b"hello").unwrap();
    let read = blocking(move || {
        server.read_exact(&mut [0; 5]).unwrap();
        server
    });
    let mut server = read.await;
    while progress.get() != (5, 0) {
        tokio::task::yield_now().await;
    }
    drop(stop);
    let outcome = copy.await.unwrap();
    assert_eq!(outcome.error.unwrap().to_string(), "stopped");
    assert_eq!((outcome.a_to_b, outcome.b_to_a), (5, 0));
    for end in [&mut client, &mut server] {
        let error = end.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
