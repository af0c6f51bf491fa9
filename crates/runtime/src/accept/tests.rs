//! Error classes and the way a listener ends.

use super::*;
use crate::drain;
use crate::net::{ListenOptions, listen};

#[test]
fn errors_are_told_apart() {
    let class = |code| ErrorClass::of(&io::Error::from_raw_os_error(code));
    assert_eq!(class(libc::ECONNABORTED), ErrorClass::Connection);
    assert_eq!(class(libc::EPERM), ErrorClass::Connection);
    for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert_eq!(class(code), ErrorClass::Resources);
    }
    assert_eq!(class(libc::EBADF), ErrorClass::Listener);
    assert_eq!(
        ErrorClass::of(&io::Error::other("no code")),
        ErrorClass::Listener
    );
}

#[test]
fn resources_back_off_longer_and_longer_and_log_once() {
    let emfile = io::Error::from_raw_os_error(libc::EMFILE);
    let before = ERRORS.with_label_values(&["resources"]).get();
    let mut backoff = Backoff::default();
    let pauses: Vec<_> = (0..12).filter_map(|_| backoff.after(&emfile)).collect();
    assert_eq!(pauses.first(), Some(&FIRST_PAUSE));
    assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
    assert!(pauses.is_sorted());
    assert_eq!(ERRORS.with_label_values(&["resources"]).get(), before + 12);
    let first_log = backoff.logged;
    backoff.after(&emfile);
    assert_eq!(backoff.logged, first_log);
    assert_eq!(
        backoff.after(&io::Error::from_raw_os_error(libc::ECONNABORTED)),
        None
    );
}

#[tokio::test]
async fn what_waits_in_the_queue_is_served_after_the_drain_started() {
    let listener = listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    let (trigger, drain) = drain::channel();
    trigger.start();
    let mut peers = Vec::new();
    let listener = TcpListener::from_std(listener).unwrap();
    run(listener, drain, |_stream, peer| peers.push(peer)).await;
    let expected: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
    assert_eq!(peers, expected);
    assert!(
        std::net::TcpStream::connect(addr).is_err(),
        "the listener is closed"
    );
}

#[tokio::test]
async fn accepts_until_drained() {
    let listener = listen("[::]:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (trigger, drain) = drain::channel();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::from_std(listener).unwrap();
    let accepting = tokio::spawn(run(listener, drain, move |_stream, peer| {
        tx.send(peer).unwrap()
    }));
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(rx.recv().await.unwrap(), client.local_addr().unwrap());
    trigger.start();
    accepting.await.unwrap();
    assert!(rx.recv().await.is_none());
}

/// The kernel would reset whose handshake is in progress, and share newcomers out, if the listener closed at once.
#[tokio::test]
async fn a_successor_is_left_everybody_and_nobody_is_reset() {
    let options = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let old = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let addr = old.local_addr().unwrap();
    let (_going, going) = drain::channel();
    let (trigger, drained) = drain::channel();
    let (served, mut by) = tokio::sync::mpsc::unbounded_channel();
    let accept = |listener, drain, name: &'static str| {
        let served = served.clone();
        let on = move |stream: TcpStream, _| drop((served.send(name), stream));
        tokio::spawn(run(TcpListener::from_std(listener).unwrap(), drain, on))
    };
    let old = accept(old, drained, "old");
    let new = accept(listen(addr, &options).unwrap(), going, "new");
    trigger.start();
    // Between the start and the end of the lingering: whoever comes is the successor's.
    tokio::time::sleep(successor::HANDSHAKES / 5).await;
    for _ in 0..40 {
        std::net::TcpStream::connect(addr).unwrap();
        assert_eq!(by.recv().await, Some("new"));
    }
    old.await.unwrap();
    for _ in 0..40 {
        std::net::TcpStream::connect(addr).unwrap();
        assert_eq!(by.recv().await, Some("new"));
    }
    new.abort();
}
